import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { z } from "zod";
import type { Clock } from "../../src/lib/clock.ts";
import type { AttendeeSettings } from "./attendee.ts";
import { type Bots, idOf, leavable, type SandboxBot } from "./bots.ts";
import { normalised } from "./meeting-url.ts";
import type { Webhook } from "./webhooks.ts";

type Parts = { engine: Bots; settings: AttendeeSettings; clock: Clock; base: () => string };
type FieldErrors = Record<string, string[]>;

const pageSize = 25;
const states =
  "ready scheduled staged joining waiting_room joined_not_recording joined_recording joined_recording_paused joined_recording_permission_denied joining_breakout_room leaving_breakout_room leaving post_processing ended fatal_error data_deleted".split(
    " ",
  );
const allowed = [
  "meeting_url",
  "bot_name",
  "join_at",
  "metadata",
  "deduplication_key",
  "webhooks",
  "bot_chat_message",
  "bot_image",
  "calendar_event_id",
  "transcription_settings",
  "recording_settings",
  "automatic_leave_settings",
  "google_meet_settings",
  "teams_settings",
  "zoom_settings",
  "rtmp_settings",
  "websocket_settings",
  "callback_settings",
  "external_media_storage_settings",
  "voice_agent_settings",
  "debug_settings",
  "kubernetes_settings",
];

/** Attendee's routes for bots, as its own code answers them. */
export function addRoutes(server: FastifyInstance, parts: Parts): void {
  const { engine, settings, clock } = parts;
  const { bots } = engine;
  const find = (request: FastifyRequest, reply: FastifyReply): SandboxBot | null => {
    const bot = bots.get((request.params as { id: string }).id) ?? null;
    if (!bot) reply.code(404).send({ error: "Bot not found" });
    return bot;
  };
  const refuse = (reply: FastifyReply, error: string) => reply.code(400).send({ error });
  const page = <Item>(request: FastifyRequest, items: Item[]) => {
    const url = new URL(request.url, "http://attendee.example");
    const start = Number(Buffer.from(url.searchParams.get("cursor") ?? "", "base64url")) || 0;
    const link = (at: number) => {
      url.searchParams.set("cursor", Buffer.from(String(at)).toString("base64url"));
      return `${parts.base()}${url.pathname}${url.search}`;
    };
    return {
      next: start + pageSize < items.length ? link(start + pageSize) : null,
      previous: start > 0 ? link(Math.max(0, start - pageSize)) : null,
      results: items.slice(start, start + pageSize),
    };
  };

  server.get("/bots", async (request, reply) => {
    const query = new URL(request.url, "http://attendee.example").searchParams;
    const wanted = query.getAll("states");
    const unknown = wanted.find((state) => !states.includes(state));
    if (unknown) return refuse(reply, `Invalid state: ${unknown}`);
    const key = query.get("deduplication_key");
    const url = query.get("meeting_url");
    const found = [...bots.values()].filter(
      (bot) =>
        (wanted.length === 0 || wanted.includes(bot.state)) &&
        (key === null || bot.key === key) &&
        (url === null || bot.meetingUrl === url),
    );
    return page(request, found.map(viewOf));
  });

  server.post("/bots", async (request, reply) => {
    if (!settings.hasCredits) {
      return refuse(reply, "Organization has run out of credits. Please add more credits.");
    }
    const body = z.record(z.string(), z.unknown()).catch({}).parse(request.body);
    const errors = problemsOf(body, clock.now());
    if (errors) return reply.code(400).send(errors);
    const live = [...bots.values()].filter(
      (bot) => !engine.isOver(bot) && !["ready", "scheduled", "staged"].includes(bot.state),
    );
    if (live.length >= settings.mostConcurrent) {
      return refuse(
        reply,
        `You have exceeded the maximum number of concurrent bots (${settings.mostConcurrent}) for your account. Please contact support.`,
      );
    }
    const key = body.deduplication_key === undefined ? null : String(body.deduplication_key);
    const twin = [...bots.values()].find((bot) => bot.key === key && !engine.isOver(bot));
    if (key !== null && twin) {
      return refuse(
        reply,
        "Deduplication key already in use. A bot in a non-terminal state with this deduplication key already exists. Please use a different deduplication key or wait for that bot to reach a terminal state.",
      );
    }
    const bot = botOf(body, key);
    bots.set(bot.id, bot);
    if (!bot.joinAt) engine.join(bot, clock.now(), "api");
    return reply.code(201).send(viewOf(bot));
  });

  server.get("/bots/:id", async (request, reply) => {
    const bot = find(request, reply);
    return bot ? viewOf(bot) : reply;
  });

  server.patch("/bots/:id", async (request, reply) => {
    const bot = find(request, reply);
    if (!bot) return reply;
    const body = z.record(z.string(), z.unknown()).catch({}).parse(request.body);
    const joinAt = body.join_at === undefined ? undefined : new Date(String(body.join_at));
    if (joinAt && Number.isNaN(joinAt.getTime())) {
      return reply.code(400).send({ join_at: ["Datetime has wrong format."] });
    }
    if (joinAt && joinAt < clock.now()) {
      return reply.code(400).send({ join_at: ["join_at cannot be in the past"] });
    }
    const url = body.meeting_url === undefined ? undefined : normalised(String(body.meeting_url));
    if (url === null) return reply.code(400).send({ meeting_url: ["Invalid meeting URL"] });
    const isMoved = joinAt !== undefined && joinAt.getTime() !== bot.joinAt?.getTime();
    const isChanged = isMoved || url !== undefined || body.bot_name !== undefined;
    if (isChanged && bot.state !== "scheduled") {
      return refuse(
        reply,
        `Bot is in state ${bot.state} but join_at, meeting_url, bot_name, bot_image, or recording_settings can only be updated when in the scheduled state`,
      );
    }
    if (joinAt) bot.joinAt = joinAt;
    if (url) bot.meetingUrl = url;
    if (typeof body.bot_name === "string") bot.name = body.bot_name;
    if (typeof body.metadata === "object") bot.metadata = body.metadata as Record<string, unknown>;
    return viewOf(bot);
  });

  server.delete("/bots/:id", async (request, reply) => {
    const bot = find(request, reply);
    if (!bot) return reply;
    if (bot.state !== "scheduled") {
      return refuse(
        reply,
        `Bot is in state ${bot.state} but can only be deleted when in scheduled state`,
      );
    }
    bots.delete(bot.id);
    return reply.code(200).send();
  });

  server.post("/bots/:id/leave", async (request, reply) => {
    const bot = find(request, reply);
    if (!bot) return reply;
    if (engine.leave(bot, clock.now(), "user_requested")) return viewOf(bot);
    return refuse(
      reply,
      `Event leave_requested not allowed when bot is in state ${bot.state}. It is only allowed in these states: ${leavable.join(", ")}`,
    );
  });

  server.get("/bots/:id/transcript", async (request, reply) => {
    const bot = find(request, reply);
    if (!bot) return reply;
    const after = timeIn(request, "updated_after");
    return bot.utterances
      .filter(({ updatedAt }) => !after || updatedAt > after)
      .toSorted((one, other) => one.timestamp_ms - other.timestamp_ms)
      .map(({ updatedAt: _, ...utterance }) => utterance);
  });

  server.get("/bots/:id/recording", async (request, reply) => {
    const bot = find(request, reply);
    if (!bot) return reply;
    if (!bot.recordingUploadedAt) {
      return reply.code(404).send({ error: "No recording file found for bot" });
    }
    const expires = Math.floor(clock.now().getTime() / 1000) + 1_800;
    return {
      url: `https://recordings.example.com/${bot.id}.mp4?expires=${expires}`,
      start_timestamp_ms: bot.recordingStartedAt?.getTime() ?? null,
    };
  });

  server.get("/bots/:id/chat_messages", async (request, reply) => {
    const bot = find(request, reply);
    if (!bot) return reply;
    const after = timeIn(request, "updated_after");
    return page(
      request,
      bot.messages.filter(({ timestamp_ms }) => !after || timestamp_ms > after.getTime()),
    );
  });

  server.post("/bots/:id/send_chat_message", async (request, reply) => {
    const bot = find(request, reply);
    if (!bot) return reply;
    const body = z.record(z.string(), z.unknown()).catch({}).parse(request.body);
    const { to = "everyone", to_user_uuid: uuid, message } = body;
    if (typeof message !== "string" || message === "" || message.length > 10_000) {
      return reply.code(400).send({ message: ["This field is required."] });
    }
    if (/[\u{10000}-\u{10ffff}]/u.test(message)) {
      return reply
        .code(400)
        .send({ message: ["Message cannot contain emojis or rare script characters."] });
    }
    if (!["everyone", "specific_user", "everyone_but_host"].includes(String(to))) {
      return reply.code(400).send({ to: [`"${to}" is not a valid choice.`] });
    }
    if ((to === "specific_user") !== (uuid !== undefined)) {
      return reply
        .code(400)
        .send({ to_user_uuid: ["is required with specific_user, and only then"] });
    }
    if (uuid !== undefined && !bot.participants.has(String(uuid))) {
      return reply.code(400).send({ to_user_uuid: ["No such participant"] });
    }
    if (!engine.isInMeeting(bot)) {
      return refuse(reply, `Bot is in state ${bot.state} and cannot send chat messages`);
    }
    engine.say(bot, clock.now(), { who: bot.name, uuid: bot.id }, message);
    return reply.code(200).send();
  });

  server.get("/bots/:id/participants", async (request, reply) => {
    const bot = find(request, reply);
    if (!bot) return reply;
    const people = [...bot.participants.values()].map(({ id, name, uuid, isHost }) => {
      return { id, name, uuid, user_uuid: null, is_host: isHost };
    });
    return page(request, people);
  });

  server.get("/bots/:id/participant_events", async (request, reply) => {
    const bot = find(request, reply);
    if (!bot) return reply;
    const after = timeIn(request, "after");
    const before = timeIn(request, "before");
    const found = bot.participantEvents.filter(
      ({ createdAt }) => (!after || createdAt > after) && (!before || createdAt < before),
    );
    return page(
      request,
      found.map(({ createdAt: _, ...event }) => event),
    );
  });

  const steer = (path: string, from: string, type: string, verb: string) =>
    server.post(`/bots/:id/${path}`, async (request, reply) => {
      const bot = find(request, reply);
      if (!bot) return reply;
      if (bot.state !== from) {
        return refuse(reply, `Bot is in state ${bot.state} and cannot ${verb} recording`);
      }
      engine.happen(bot, clock.now(), type);
      return viewOf(bot);
    });
  steer("pause_recording", "joined_recording", "recording_paused", "pause");
  steer("resume_recording", "joined_recording_paused", "recording_resumed", "resume");

  server.post("/bots/:id/delete_data", async (request, reply) => {
    const bot = find(request, reply);
    if (!bot) return reply;
    if (!engine.happen(bot, clock.now(), "data_deleted")) {
      return refuse(reply, `Bot is in state ${bot.state} and its data cannot be deleted`);
    }
    Object.assign(bot, {
      utterances: [],
      messages: [],
      participantEvents: [],
      recordingUploadedAt: null,
    });
    return viewOf(bot);
  });
}

function viewOf(bot: SandboxBot) {
  return {
    id: bot.id,
    metadata: bot.metadata,
    meeting_url: bot.meetingUrl,
    state: bot.state,
    events: bot.events,
    transcription_state: bot.transcriptionState,
    recording_state: bot.recordingState,
    join_at: bot.joinAt?.toISOString() ?? null,
    deduplication_key: bot.key,
  };
}

function botOf(body: Record<string, unknown>, key: string | null): SandboxBot {
  const greeting = body.bot_chat_message as { message?: string } | undefined;
  const recording = body.recording_settings as { format?: string } | undefined;
  const joinAt =
    body.join_at === undefined || body.join_at === null ? null : new Date(String(body.join_at));
  return {
    id: idOf("bot"),
    name: String(body.bot_name),
    meetingUrl: normalised(String(body.meeting_url)) ?? "",
    joinAt,
    key,
    metadata: (body.metadata as Record<string, unknown> | undefined) ?? null,
    webhooks: (body.webhooks as Webhook[] | undefined) ?? [],
    greeting: greeting?.message ?? null,
    recordingFormat: recording?.format ?? "mp4",
    state: joinAt ? "scheduled" : "ready",
    events: [],
    recordingState: "not_started",
    transcriptionState: "not_started",
    recordingStartedAt: null,
    recordingUploadedAt: null,
    utterances: [],
    messages: [],
    participants: new Map(),
    participantEvents: [],
    plan: [],
  };
}

// Strict: a field too many is refused too.
function problemsOf(body: Record<string, unknown>, now: Date): FieldErrors | null {
  const errors: FieldErrors = {};
  const extra = Object.keys(body).filter((name) => !allowed.includes(name));
  if (extra.length > 0) {
    errors.non_field_errors = [
      `Unexpected field(s): ${extra.join(", ")}. Allowed fields are: ${allowed.join(", ")}`,
    ];
  }
  const { meeting_url: url, bot_name: name, join_at: joinAt, metadata, webhooks } = body;
  if (url === undefined) errors.meeting_url = ["This field is required."];
  else if (typeof url !== "string" || url.length > 2048 || normalised(url) === null) {
    errors.meeting_url = ["Invalid meeting URL"];
  }
  if (typeof name !== "string" || name === "") errors.bot_name = ["This field is required."];
  else if (name.length > 255)
    errors.bot_name = ["Ensure this field has no more than 255 characters."];
  else if (/[\u{10000}-\u{10ffff}]/u.test(name)) {
    errors.bot_name = ["Bot name cannot contain emojis or rare script characters."];
  }
  if (joinAt !== undefined && joinAt !== null) {
    const at = new Date(String(joinAt));
    const tooFar = now.getTime() + 3 * 365 * 86_400_000;
    if (Number.isNaN(at.getTime())) errors.join_at = ["Datetime has wrong format."];
    else if (at < now) errors.join_at = ["join_at cannot be in the past"];
    else if (at.getTime() > tooFar)
      errors.join_at = ["join_at cannot be more than 3 years in the future"];
  }
  if (metadata !== undefined) {
    const isObject = typeof metadata === "object" && metadata !== null && !Array.isArray(metadata);
    const values = isObject ? Object.values(metadata) : [];
    if (values.length === 0) errors.metadata = ["Metadata must be an object with at least one key"];
    else if (values.some((value) => typeof value !== "string")) {
      errors.metadata = ["All metadata values must be strings"];
    } else if (JSON.stringify(metadata).length > 1_000) {
      errors.metadata = ["Metadata is too long"];
    }
  }
  const key = body.deduplication_key;
  if (key !== undefined && (typeof key !== "string" || key.length > 1_024)) {
    errors.deduplication_key = ["Ensure this field has no more than 1024 characters."];
  }
  const format = (body.recording_settings as { format?: unknown } | undefined)?.format;
  if (format !== undefined && !["mp4", "mp3", "none"].includes(String(format))) {
    errors.recording_settings = ["Format must be mp4, mp3 or none"];
  }
  if (webhooks !== undefined && !areWebhooks(webhooks)) errors.webhooks = ["Invalid webhooks"];
  return Object.keys(errors).length > 0 ? errors : null;
}

function areWebhooks(value: unknown): boolean {
  const form = z
    .array(
      z.strictObject({
        url: z.url({ protocol: /^https$/ }),
        triggers: z.array(z.string()).min(1),
      }),
    )
    .max(2);
  const webhooks = form.safeParse(value).data;
  return webhooks !== undefined && new Set(webhooks.map(({ url }) => url)).size === webhooks.length;
}

function timeIn(request: FastifyRequest, name: string): Date | null {
  const text = new URL(request.url, "http://attendee.example").searchParams.get(name);
  return text === null ? null : new Date(text);
}
