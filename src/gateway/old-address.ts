import { z } from "zod";

// What the old addresses answered is not described further: each had a shape of its own.
const response = { 200: z.looseObject({}), "4xx": z.looseObject({ error: z.string().optional() }) };

/** Describes an old address; `reads` are the parts of a request that it takes. */
export function oldAddress<Reads extends object>(summary: string, reads: Reads) {
  return { summary: `Old address: ${summary}`, tags: ["gateway"], response, ...reads };
}

/** Describes one that took any object, or none. */
export function oldPost(summary: string) {
  return oldAddress(summary, { body: z.looseObject({}).optional() });
}

// Told apart by how the path ended; what stood before its last part was not looked at.
const withSubRoutes = new Set([
  "attendee-polling-service",
  "attendee-proxy",
  "attendee-service",
  "auto-schedule-bots",
  "calendar-webhook-public",
  "google-calendar",
  "google-calendar-webhook",
  "renew-calendar-webhooks",
]);

/** The address of ours that a caller's path means: a function without sub-routes answered at every path below its name. */
export function oldRouteOf(url: string): string {
  const [, address = "", name = "", path = "", query = ""] =
    /^(\/functions\/v1\/([\w-]+))(\/[^?]*)(.*)$/.exec(url) ?? [];
  if (!address) return url;
  return address + (withSubRoutes.has(name) ? path.slice(path.lastIndexOf("/")) : "") + query;
}
