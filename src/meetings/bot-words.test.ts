import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { botStates } from "../providers/attendee.ts";
import {
  type BotStatus,
  botStatuses,
  isWorthRetrying,
  noticeOf,
  statusAfter,
} from "./bot-words.ts";

describe("a bot's status", () => {
  // The way of a bot that comes, records and ends; what lies beside it, in the words of the older product.
  const table: [state: string, status: BotStatus][] = [
    ["ready", "pending"],
    ["scheduled", "bot_scheduled"],
    ["staged", "bot_scheduled"],
    ["joining", "bot_scheduled"],
    ["waiting_room", "bot_scheduled"],
    ["joined_not_recording", "bot_joined"],
    ["joined_recording_permission_denied", "bot_joined"],
    ["joining_breakout_room", "bot_joined"],
    ["leaving_breakout_room", "bot_joined"],
    ["joined_recording", "transcribing"],
    ["joined_recording_paused", "transcribing"],
    ["leaving", "transcribing"],
    ["post_processing", "transcribing"],
    ["ended", "completed"],
    ["fatal_error", "failed"],
  ];
  for (const [state, status] of table) {
    test(`is ${status} in the provider's state ${state}`, () => {
      assert.equal(statusAfter("pending", state), status);
    });
  }

  test("never goes back, whatever comes late, and a state that nobody knows changes nothing", () => {
    for (const current of botStatuses) {
      for (const state of [...botStates, "a_state_of_next_year", "constructor", ""]) {
        const next = statusAfter(current, state);
        assert.ok(
          botStatuses.indexOf(next) >= botStatuses.indexOf(current),
          `${current}, ${state}`,
        );
      }
      assert.equal(statusAfter(current, "data_deleted"), current);
      assert.equal(statusAfter(current, "a_state_of_next_year"), current);
    }
  });
});

describe("what went wrong", () => {
  test("is said with what to do and whose turn it is, for every reason that Attendee gives", () => {
    const reasons = [
      "request_to_join_denied waiting_room_timeout_exceeded meeting_not_started_waiting_for_host",
      "meeting_not_found unable_to_connect_to_meeting login_required bot_login_attempt_failed blocked_by_captcha",
      "zoom_authorization_failed zoom_meeting_status_failed unpublished_zoom_app zoom_sdk_internal_error",
      "zoom_app_cannot_join_anonymously authorized_user_not_in_meeting_timeout_exceeded host_denied_permission",
      "request_timed_out host_client_cannot_grant_permission webinar_attendee_needs_panelist_promotion",
      "auto_leave_could_not_enable_closed_captions process_terminated attendee_internal_error heartbeat_timeout",
      "bot_not_launched global_runtime_timeout ui_element_not_found rtmp_connection_failed out_of_credits",
    ].flatMap((line) => line.split(" "));
    for (const reason of reasons) {
      const { code, text, cure, fault } = noticeOf("could_not_join_meeting", reason);
      assert.equal(code, reason);
      assert.ok(!text.includes(reason), `${reason} is in words`);
      assert.ok(fault === "nobody" || (cure?.length ?? 0) > 10, reason);
    }
  });

  test("is quoted where nobody knows it", () => {
    assert.match(
      noticeOf("could_not_join_meeting", "moon_phase").text,
      /could not join.*moon_phase/,
    );
    assert.match(noticeOf("fatal_error", null).text, /failed.*fatal_error/);
    assert.match(noticeOf("fatal_error", "constructor").text, /constructor/);
  });

  test("is tried again only where it is the provider's, never where a person said no", () => {
    assert.ok(isWorthRetrying("heartbeat_timeout"));
    assert.ok(isWorthRetrying("bot_not_launched"));
    for (const reason of ["request_to_join_denied", "meeting_not_found", "out_of_credits", null]) {
      assert.ok(!isWorthRetrying(reason), String(reason));
    }
  });
});
