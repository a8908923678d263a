import { z } from "zod";

/** Text as PostgreSQL stores it: without NUL and halves of surrogate pairs, one of which would fail a whole page. */
export const text = z.string().transform((value) => value.toWellFormed().replaceAll("\0", ""));

/** What an item cannot be without. */
export const id = text.pipe(z.string().min(1).max(1100));

/** Null in the place of what is missing or has another shape: what we can do without must not cost the item. */
export function orNull<Schema extends z.ZodType>(schema: Schema) {
  // Most fields are missing most of the time: with `nullish` that is no error, which `catch` would have to make first.
  return schema
    .nullish()
    .catch(null)
    .transform((value) => value ?? null);
}

export const textOrNull = orNull(text);

/** True only where Google says so. */
export const flag = z.boolean().default(false).catch(false);

/** The items that can be read, of a list that may be missing. */
export function listOf<Schema extends z.ZodType>(schema: Schema) {
  return z
    .array(orNull(schema))
    .default([])
    .catch([])
    .transform((items) => items.filter((item) => item !== null));
}
