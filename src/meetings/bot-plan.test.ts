import assert from "node:assert/strict";
import { test } from "node:test";
import { botPlan, type PlannedMeeting } from "./bot-plan.ts";

const now = new Date("2026-11-24T10:00:00Z");
const at = (hours: number) => new Date(now.getTime() + hours * 3_600_000);
const url = "https://meet.google.com/abc-defg-hij";
const coming: PlannedMeeting = {
  meetingUrl: url,
  isJoinable: true,
  startTime: at(2),
  endTime: at(3),
  eventStatus: "accepted",
  isCancelled: false,
  isAssistantInvited: false,
  wantsBot: null,
  isOwn: true,
  hasOthers: true,
  isPrivate: false,
  bot: null,
};
const sent = { meetingUrl: url, startTime: at(2), isOver: false, isLeaving: false };

type Case = [decision: string, rule: string, meeting: Partial<PlannedMeeting>, all?: boolean];
const cases: Case[] = [
  ["none", "not_asked", {}],
  ["send", "invited", { isAssistantInvited: true }],
  ["send", "asked", { wantsBot: true }],
  ["send", "asked", { wantsBot: true, isPrivate: true, hasOthers: false }],
  ["none", "refused", { wantsBot: false, isAssistantInvited: true }, true],
  ["none", "declined", { eventStatus: "declined", isAssistantInvited: true }],
  ["none", "declined", { eventStatus: "declined", wantsBot: true }],
  ["none", "cancelled", { isCancelled: true, wantsBot: true }],
  ["none", "no_link", { meetingUrl: null, wantsBot: true }],
  ["none", "not_joinable", { isJoinable: false, wantsBot: true }],
  ["none", "over", { startTime: at(-2), endTime: at(-1), wantsBot: true }],
  ["send", "asked", { startTime: at(-1), endTime: at(1), wantsBot: true }],
  ["send", "all_meetings", {}, true],
  ["none", "not_own", { isOwn: false }, true],
  ["none", "private", { isPrivate: true }, true],
  ["none", "alone", { hasOthers: false }, true],
  ["none", "declined", { eventStatus: "declined" }, true],
  ["none", "served", { isAssistantInvited: true, bot: sent }],
  ["move", "moved", { isAssistantInvited: true, bot: { ...sent, startTime: at(1) } }],
  ["move", "moved", { isAssistantInvited: true, bot: { ...sent, meetingUrl: `${url}x` } }],
  ["cancel", "not_asked", { bot: sent }],
  ["cancel", "refused", { wantsBot: false, isAssistantInvited: true, bot: sent }],
  ["cancel", "cancelled", { isCancelled: true, isAssistantInvited: true, bot: sent }],
  ["cancel", "declined", { eventStatus: "declined", wantsBot: true, bot: sent }],
  ["cancel", "no_link", { meetingUrl: null, wantsBot: true, bot: sent }],
  ["none", "leaving", { wantsBot: true, bot: { ...sent, isLeaving: true } }],
  ["cancel", "refused", { wantsBot: false, bot: { ...sent, isLeaving: true } }],
  ["move", "moved", { wantsBot: true, bot: { ...sent, startTime: at(1), isLeaving: true } }],
  ["none", "had_bot", { isAssistantInvited: true, bot: { ...sent, isOver: true } }],
  ["none", "had_bot", { bot: { ...sent, isOver: true } }],
  ["move", "moved", { wantsBot: true, bot: { ...sent, startTime: at(-4), isOver: true } }],
  ["none", "refused", { wantsBot: false, bot: { ...sent, startTime: at(-4), isOver: true } }],
];

for (const [index, [decision, rule, meeting, all = false]] of cases.entries()) {
  test(`case ${index + 1}: ${decision}, by the rule ${rule}`, () => {
    const plan = botPlan({ ...coming, ...meeting }, { allMeetings: all }, now);
    assert.deepEqual([plan.decision, plan.rule], [decision, rule]);
    assert.ok(plan.reason.length > 5);
  });
}
