import type { FastifyInstance } from "fastify";
import { botIn, nothing, type Parts, pageOf, queryOf, ruleBroken, timeIn } from "./answers.ts";
import type { Recordings } from "./recordings.ts";

/** The routes that hand out what a bot heard, saw and recorded. */
export function addContentRoutes(
  server: FastifyInstance,
  { engine, clock, api, recordings }: Parts & { recordings: Recordings },
): void {
  server.get("/bots/:id/transcript", (request) => {
    const bot = botIn(engine, request);
    if (queryOf(request).get("async_transcription_id")) {
      throw ruleBroken("Async Transcription not found", 404);
    }
    const after = timeIn(request, "updated_after");
    return bot.utterances
      .filter(({ updatedAt }) => !after || updatedAt > after)
      .filter(({ transcription }) => transcription.transcript !== "")
      .toSorted((one, other) => one.timestamp_ms - other.timestamp_ms)
      .map(({ updatedAt: _, ...utterance }) => utterance);
  });

  server.post("/bots/:id/transcript", (request) => {
    botIn(engine, request);
    throw ruleBroken("Async transcription is not enabled for your account.");
  });

  server.delete("/bots/:id/transcript", (request, reply) => {
    botIn(engine, request).utterances = [];
    return nothing(reply);
  });

  server.get("/bots/:id/recording", (request) => {
    const bot = botIn(engine, request);
    if (!bot.recordingUploadedAt) throw ruleBroken("No recording file found for bot", 404);
    return {
      url: recordings.link(bot, clock.now()),
      start_timestamp_ms: bot.recordingStartedAt?.getTime() ?? null,
    };
  });

  server.get("/bots/:id/chat_messages", (request) => {
    const { messages } = botIn(engine, request);
    const after = timeIn(request, "updated_after");
    // By the time of its making: an edited message does not come again.
    const items = messages.filter(({ timestamp_ms }) => !after || timestamp_ms > after.getTime());
    return pageOf(request, api(), { items, position: (message) => messages.indexOf(message) });
  });

  server.get("/bots/:id/participants", (request) => {
    const people = [...botIn(engine, request).participants.values()];
    const query = queryOf(request);
    const isHost = query.get("is_host")?.trim().toLowerCase();
    if (isHost !== undefined && isHost !== "true" && isHost !== "false") {
      throw ruleBroken("Invalid is_host value. Use true or false.");
    }
    const id = query.get("id");
    const items = people.filter(
      (person) =>
        (isHost === undefined || String(person.isHost) === isHost) && (!id || person.id === id),
    );
    const page = pageOf(request, api(), { items, position: (person) => people.indexOf(person) });
    const results = page.results.map((person) => {
      const { id: objectId, name, uuid } = person;
      return { id: objectId, name, uuid, user_uuid: null, is_host: person.isHost };
    });
    return { ...page, results };
  });

  server.get("/bots/:id/participant_events", (request) => {
    const { participantEvents: all } = botIn(engine, request);
    const [after, before] = [timeIn(request, "after"), timeIn(request, "before")];
    const items = all.filter(
      ({ createdAt }) => (!after || createdAt > after) && (!before || createdAt < before),
    );
    const page = pageOf(request, api(), { items, position: (event) => all.indexOf(event) });
    return { ...page, results: page.results.map(({ createdAt: _, ...event }) => event) };
  });
}
