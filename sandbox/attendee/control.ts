import type { FastifyInstance } from "fastify";
import { z } from "zod";
import type { AttendeeSettings } from "./attendee.ts";
import type { Bots } from "./bots.ts";
import { type EndingEvent, fates, subTypes } from "./play.ts";

/** What becomes of a bot, as a request or a form says it. */
export const FateText = z.union([
  z.enum(fates),
  z
    .strictObject({ type: z.enum(Object.keys(subTypes) as EndingEvent[]), sub_type: z.string() })
    .refine(({ type, sub_type }) => subTypes[type].includes(sub_type), "No such sub type"),
]);

const count = z.number().int().min(0);
const seconds = z.number().min(0);
const Change = z
  .strictObject({
    speed: z.number().min(0.1).max(1_000),
    fates: z.array(z.tuple([z.string().max(200), FateText])).max(100),
    transcriptLate: seconds,
    transcriptionFails: z.boolean(),
    uploadAfter: seconds,
    admitAfter: seconds,
    schedulerEverySeconds: seconds,
    failNext: z.array(z.number().int().min(400).max(599)).max(100),
    cutNext: count,
    stubbornNext: count,
    loseNext: count,
    times: count.max(5),
    mostDelayMs: z.number().min(0).max(60_000),
    retryMs: z.number().min(0).max(60_000),
    postsPerMinute: count.min(1),
    mostConcurrent: count.min(1),
    hasCredits: z.boolean(),
    hasZoomCredentials: z.boolean(),
  })
  .partial();

/** What a test in another process steers it by. */
export function addControl(
  server: FastifyInstance,
  { engine, settings }: { engine: Bots; settings: AttendeeSettings },
): void {
  server.patch("/_control/settings", ({ body }) => {
    Object.assign(settings, Change.parse(body));
    return { ...settings, play: undefined };
  });
  server.get("/_control/bots", () =>
    [...engine.bots.values()].map(({ id, state, meetingUrl, joinAt, metadata }) => {
      return { id, state, meeting_url: meetingUrl, join_at: joinAt, metadata };
    }),
  );
}
