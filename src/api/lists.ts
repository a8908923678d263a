import { z } from "zod";
import { AppError } from "../lib/errors.ts";
import { hasPoison } from "./input.ts";

/** The query of every list. The cursor of one answer asks for what follows it. */
export const listQuery = {
  limit: z.coerce
    .number()
    .int()
    .min(1)
    .max(200)
    .default(50)
    .describe("How many items at most to answer with"),
  cursor: z
    .string()
    .max(4000)
    .optional()
    .describe("`next_cursor` of the page before; without it the list begins anew"),
};

/** The answer of a list. */
export function listOf<Item extends z.ZodType>(item: Item) {
  return z.object({ items: z.array(item), next_cursor: z.string().nullable() });
}

/** Reads a cursor that {@link pageOf} made: the sort key of the last row seen. @throws {AppError} `malformed` */
export function readCursor<Key extends z.ZodType>(
  key: Key,
  cursor: string | undefined,
): z.output<Key> | null {
  if (cursor === undefined) return null;
  try {
    const read: unknown = JSON.parse(Buffer.from(cursor, "base64url").toString());
    if (hasPoison(read)) throw new Error("signs that are not allowed");
    return key.parse(read);
  } catch {
    throw new AppError("malformed", "This cursor is not one of ours: begin the list anew", {
      fields: [{ path: "querystring.cursor", message: "is not a cursor of this list" }],
    });
  }
}

/** One page of up to `limit + 1` rows that were read: the surplus row says that there is more. */
export function pageOf<Row>(rows: Row[], limit: number, keyOf: (row: Row) => unknown) {
  const items = rows.slice(0, limit);
  const last = items.at(-1);
  const hasMore = rows.length > limit && last !== undefined;
  const next_cursor = hasMore
    ? Buffer.from(JSON.stringify(keyOf(last))).toString("base64url")
    : null;
  return { items, next_cursor };
}
