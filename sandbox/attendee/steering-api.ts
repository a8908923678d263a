import type { FastifyInstance } from "fastify";
import { bodyOf, botIn, nothing, type Parts, Refusal, ruleBroken } from "./answers.ts";
import { noParticipant, viewOf } from "./api.ts";
import { asPerson, type SandboxBot } from "./bot.ts";
import { chatProblems } from "./fields.ts";
import { joinedStates, notAllowed } from "./states.ts";

/** The routes that tell a bot in its meeting what to do. */
export function addSteeringRoutes(server: FastifyInstance, parts: Parts): void {
  const { engine, settings, clock } = parts;

  server.post("/bots/:id/leave", (request) => {
    const bot = botIn(engine, request);
    if (engine.leave(bot, clock.now(), "user_requested")) return viewOf(bot);
    throw ruleBroken(notAllowed(bot, "leave_requested"));
  });

  server.post("/bots/:id/send_chat_message", (request, reply) => {
    const bot = botIn(engine, request);
    const body = bodyOf(request);
    const problems = chatProblems(body);
    if (problems) throw new Refusal(400, problems);
    requireJoined(bot, "send chat messages");
    const { to_user_uuid: uuid, message } = body;
    if (uuid && !bot.participants.has(String(uuid))) throw noParticipant(uuid);
    // Queued is not delivered.
    engine.later(bot, clock.now(), 0.2, (at) =>
      engine.write(bot, at, { by: asPerson(bot), text: String(message) }),
    );
    return nothing(reply);
  });

  const halts = [
    ["pause", "joined_recording", "recording_paused"],
    ["resume", "joined_recording_paused", "recording_resumed"],
  ] as const;
  for (const [verb, from, type] of halts) {
    server.post(`/bots/:id/${verb}_recording`, (request) => {
      const bot = botIn(engine, request);
      if (bot.state !== from) {
        throw ruleBroken(`Bot is in state ${bot.state} and cannot ${verb} recording`);
      }
      if (settings.stubbornNext > 0) {
        settings.stubbornNext -= 1;
        // Refused after a second; it obeys all the same, a little later.
        engine.happenLater(bot, clock.now(), 1.5, { type });
        throw ruleBroken(`Unable to ${verb} recording`);
      }
      engine.happen(bot, clock.now(), { type });
      return viewOf(bot);
    });
  }

  server.post("/bots/:id/delete_data", (request) => {
    const bot = botIn(engine, request);
    if (!engine.happen(bot, clock.now(), { type: "data_deleted" })) {
      throw ruleBroken(notAllowed(bot, "data_deleted"));
    }
    bot.participants.clear();
    const gone = { utterances: [], messages: [], participantEvents: [], plan: [] };
    Object.assign(bot, gone, { recordingUploadedAt: null });
    return viewOf(bot);
  });

  const media = ["speech", "output_audio", "output_image", "output_video"];
  const others: ["POST" | "PATCH", path: string, what: string][] = [
    ...media.map((path): ["POST", string, string] => ["POST", path, "play media"]),
    ["POST", "admit_from_waiting_room", "admit from waiting room"],
    ["POST", "change_gallery_view_page", "change the gallery view page"],
    ["PATCH", "transcription_settings", "update transcription settings"],
    ["PATCH", "voice_agent_settings", "update voice agent settings"],
  ];
  for (const [method, path, what] of others) {
    server.route({
      method,
      url: `/bots/:id/${path}`,
      handler: (request, reply) => {
        requireJoined(botIn(engine, request), what);
        return nothing(reply);
      },
    });
  }
}

function requireJoined({ state }: SandboxBot, what: string): void {
  if (!joinedStates.includes(state)) {
    throw ruleBroken(`Bot is in state ${state} and cannot ${what}`);
  }
}
