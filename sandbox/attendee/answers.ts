import type { FastifyReply, FastifyRequest } from "fastify";
import type { Clock } from "../../src/lib/clock.ts";
import type { AttendeeSettings } from "./attendee.ts";
import type { SandboxBot } from "./bot.ts";
import type { Bots } from "./bots.ts";
import { parseTime } from "./times.ts";

/** What the routes work with. `api` is where they are reached, with the version. */
export type Parts = {
  engine: Bots;
  settings: AttendeeSettings;
  clock: Clock;
  api: () => string;
};

/** A request refused as Attendee refuses it: `body` has one of its two shapes, or the framework's. */
export class Refusal extends Error {
  readonly status: number;
  readonly body: Record<string, unknown>;
  constructor(status: number, body: Record<string, unknown>) {
    super(JSON.stringify(body));
    this.status = status;
    this.body = body;
  }
}

/** A rule of the business was broken. */
export const ruleBroken = (error: string, status = 400) => new Refusal(status, { error });

/** @throws {Refusal} where the project has no such bot. */
export function botIn({ bots }: Bots, request: FastifyRequest): SandboxBot {
  const { id } = request.params as { id: string };
  if (id === "") throw ruleBroken("Not found", 404);
  const bot = bots.get(id);
  if (!bot) throw ruleBroken("Bot not found", 404);
  return bot;
}

/** The query, in which a name may come several times. */
export const queryOf = (request: FastifyRequest): URLSearchParams =>
  new URL(request.url, "http://attendee.example").searchParams;

/** A time in the query, null without one. @throws {Refusal} where it is none. */
export function timeIn(request: FastifyRequest, name: string): Date | null {
  const text = queryOf(request).get(name);
  if (!text) return null;
  const time = parseTime(text);
  if (time) return time;
  throw ruleBroken(`Invalid ${name} format. Use ISO 8601 format (e.g., 2024-01-18T12:34:56Z)`);
}

/** The JSON object that was sent. @throws {Refusal} for any other JSON. */
export function bodyOf(request: FastifyRequest): Record<string, unknown> {
  const body = request.body ?? {};
  if (typeof body === "object" && !Array.isArray(body)) return body as Record<string, unknown>;
  const type = Array.isArray(body) ? "list" : typeof body === "string" ? "str" : "int";
  const sentence = `Invalid data. Expected a dictionary, but got ${type}.`;
  throw new Refusal(400, { non_field_errors: [sentence] });
}

const pageSize = 25;

/**
 * A page of a list that is ordered by `position`. Cursors hold a position: what is deleted or leaves the filter between
 * two pages does not shift the rest. Source: REST framework, `CursorPagination`.
 *
 * @throws {Refusal} 404 for a cursor that it never gave.
 */
export function pageOf<Item>(
  request: FastifyRequest,
  api: string,
  { items, position }: { items: Item[]; position: (item: Item) => number },
) {
  const url = new URL(request.url, "http://attendee.example");
  const cursor = readCursor(url.searchParams.get("cursor"));
  const link = (at: Item | undefined, isReversed: boolean): string | null => {
    if (at === undefined) return null;
    const text = `${isReversed ? "r=1&" : ""}p=${position(at)}`;
    url.searchParams.set("cursor", Buffer.from(text).toString("base64"));
    return `${api}${url.pathname.replace(/^\/api\/v1/, "")}${url.search}`;
  };
  const isPast = (item: Item) => position(item) > cursor.position;
  const before = items.filter((item) => position(item) < cursor.position);
  const results = cursor.isReversed
    ? before.slice(-pageSize)
    : items.filter(isPast).slice(0, pageSize);
  const [first, last] = [results[0], results.at(-1)];
  const isMore = last !== undefined && items.at(-1) !== last;
  const isLess = first !== undefined && items[0] !== first;
  return {
    next: isMore ? link(last, false) : null,
    previous: isLess ? link(first, true) : null,
    results,
  };
}

function readCursor(text: string | null): { position: number; isReversed: boolean } {
  if (!text) return { position: Number.NEGATIVE_INFINITY, isReversed: false };
  const cursor = new URLSearchParams(Buffer.from(text, "base64").toString());
  const position = Number(cursor.get("p") ?? Number.NaN);
  if (Number.isNaN(position)) throw new Refusal(404, { detail: "Invalid cursor" });
  return { position, isReversed: cursor.get("r") === "1" };
}

/** Answers with nothing. */
export const nothing = (reply: FastifyReply) => reply.code(200).send();
