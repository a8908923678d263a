import type { FastifyInstance } from "fastify";
import {
  bodyOf,
  botIn,
  nothing,
  type Parts,
  pageOf,
  queryOf,
  Refusal,
  ruleBroken,
  timeIn,
} from "./answers.ts";
import { idOf, type SandboxBot } from "./bot.ts";
import { changeable, changeProblems, creationProblems } from "./fields.ts";
import { normalised } from "./meeting-url.ts";
import { botStates, restingStates } from "./states.ts";
import { apiTime, parseTime } from "./times.ts";
import type { Webhook } from "./webhooks.ts";

/** The routes that list, make, change and delete bots, as Attendee's own code answers them. */
export function addBotRoutes(server: FastifyInstance, parts: Parts): void {
  const { engine, clock, api } = parts;
  const { bots } = engine;

  server.get("/bots", (request) => {
    const query = queryOf(request);
    const states = query.getAll("states");
    const unknown = states.find((state) => !botStates.includes(state));
    if (unknown !== undefined) {
      throw ruleBroken(`Invalid state: ${unknown}. Valid states are: ${botStates.join(", ")}`);
    }
    const [key, url] = [query.get("deduplication_key"), query.get("meeting_url")];
    const [after, before] = [timeIn(request, "join_at_after"), timeIn(request, "join_at_before")];
    const items = [...bots.values()].filter(
      (bot) =>
        (states.length === 0 || states.includes(bot.state)) &&
        (!key || bot.key === key) &&
        (!url || bot.meetingUrl === url) &&
        (!after || (bot.joinAt !== null && bot.joinAt > after)) &&
        (!before || (bot.joinAt !== null && bot.joinAt < before)),
    );
    const page = pageOf(request, api(), { items, position: (bot) => bot.position });
    return { ...page, results: page.results.map(viewOf) };
  });

  server.post("/bots", (request, reply) => {
    const bot = create(parts, bodyOf(request));
    bots.set(bot.id, bot);
    if (!bot.joinAt) engine.join(bot, clock.now(), "api");
    return reply.code(201).send(viewOf(bot));
  });

  server.get("/bots/:id", (request) => viewOf(botIn(engine, request)));

  server.patch("/bots/:id", (request) => {
    const bot = botIn(engine, request);
    change(bot, bodyOf(request), clock.now());
    return viewOf(bot);
  });

  server.delete("/bots/:id", (request, reply) => {
    const bot = botIn(engine, request);
    if (bot.state !== "scheduled") {
      throw ruleBroken(
        `Bot is in state ${bot.state} but can only be deleted when in scheduled state`,
      );
    }
    bots.delete(bot.id);
    return nothing(reply);
  });
}

/** A bot as the API shows it. */
export function viewOf(bot: SandboxBot) {
  return {
    id: bot.id,
    metadata: bot.metadata,
    meeting_url: bot.meetingUrl,
    state: bot.state,
    events: bot.events,
    transcription_state: bot.transcriptionState,
    recording_state: bot.recordingState,
    join_at: bot.joinAt && apiTime(bot.joinAt),
    deduplication_key: bot.key,
  };
}

// The order of the checks is Attendee's; the key comes last, as the row's unique index does.
function create({ engine, settings, clock }: Parts, body: Record<string, unknown>): SandboxBot {
  if (!settings.hasCredits) {
    throw ruleBroken(
      "Organization has run out of credits. Please add more credits in the Account -> Billing page.",
    );
  }
  if (body.calendar_event_id) {
    throw ruleBroken(
      `Calendar event with id ${body.calendar_event_id} does not exist in this project.`,
    );
  }
  const problems = creationProblems(body, clock.now());
  if (problems) throw new Refusal(400, problems);
  const bot = botOf(body);
  if (bot.meetingUrl.includes("zoom.us/") && !settings.hasZoomCredentials) {
    throw ruleBroken(
      "Zoom App credentials are required to create a Zoom bot. Please add Zoom credentials in the project's settings",
    );
  }
  if (body.external_media_storage_settings) {
    throw ruleBroken(
      "External media storage credentials are required to upload recordings to an external storage bucket.",
    );
  }
  const all = [...engine.bots.values()];
  const live = all.filter(({ state }) => !restingStates.includes(state));
  if (live.length >= settings.mostConcurrent) {
    throw ruleBroken(
      `You have exceeded the maximum number of concurrent bots (${settings.mostConcurrent}) for your account. Please reach out to customer support to increase the limit.`,
    );
  }
  const { to_user_uuid: uuid } = (body.bot_chat_message ?? {}) as { to_user_uuid?: string };
  if (uuid) throw noParticipant(uuid);
  if (bot.key !== null && all.some((one) => one.key === bot.key && !engine.isOver(one))) {
    throw ruleBroken(
      "Deduplication key already in use. A bot in a non-terminal state with this deduplication key already exists. Please use a different deduplication key or wait for that bot to terminate.",
    );
  }
  return bot;
}

/** Nobody in a bot's meeting has that uuid; at its making nobody is there at all. */
export const noParticipant = (uuid: unknown) =>
  ruleBroken(
    `No participant found with uuid ${uuid}. Use the /participants endpoint to get the list of participants.`,
  );

let made = 0;

function botOf(body: Record<string, unknown>): SandboxBot {
  const greeting = (body.bot_chat_message ?? {}) as { message?: string };
  const recording = (body.recording_settings ?? {}) as { format?: string };
  const joinAt = parseTime(body.join_at);
  made += 1;
  return {
    id: idOf("bot"),
    position: made,
    name: String(body.bot_name),
    meetingUrl: normalised(String(body.meeting_url)) ?? "",
    joinAt,
    key: body.deduplication_key == null ? null : String(body.deduplication_key),
    metadata: (body.metadata as Record<string, unknown> | undefined) ?? null,
    webhooks: (body.webhooks as Webhook[] | undefined) ?? [],
    greeting: greeting.message ?? null,
    recordingFormat: recording.format ?? "mp4",
    state: joinAt ? "scheduled" : "ready",
    events: [],
    recordingState: "not_started",
    transcriptionState: "not_started",
    joinedAt: null,
    recordingStartedAt: null,
    recordingUploadedAt: null,
    utterances: [],
    messages: [],
    participants: new Map(),
    participantEvents: [],
    plan: [],
  };
}

// What is wrong comes before what is too late; the same time again is no change.
function change(bot: SandboxBot, body: Record<string, unknown>, now: Date): void {
  const problems = changeProblems(body, now);
  if (problems) throw new Refusal(400, problems);
  const joinAt = body.join_at == null ? null : parseTime(body.join_at);
  const isSameTime = joinAt !== null && joinAt.getTime() === bot.joinAt?.getTime();
  const changed = changeable.filter(
    (field) => body[field] != null && !(field === "join_at" && isSameTime),
  );
  if (changed.length > 0 && bot.state !== "scheduled") {
    throw ruleBroken(
      `Bot is in state ${bot.state} but join_at, meeting_url, bot_name, bot_image, or recording_settings can only be updated when in the scheduled state`,
    );
  }
  bot.joinAt = joinAt ?? bot.joinAt;
  if (body.meeting_url != null) bot.meetingUrl = normalised(String(body.meeting_url)) ?? "";
  if (body.bot_name != null) bot.name = String(body.bot_name);
  const { format } = (body.recording_settings ?? {}) as { format?: string };
  bot.recordingFormat = format ?? bot.recordingFormat;
  if (body.metadata != null) bot.metadata = body.metadata as Record<string, unknown>;
}
