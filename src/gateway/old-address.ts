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
