import { z } from "zod";

/** A time in an answer. */
export const Time = z.iso.datetime();

/** A moment in a query: with a zone, and in years that PostgreSQL writes like everybody else. */
export const Moment = z.iso
  .datetime({ offset: true })
  .refine((text) => /^[1-9]\d{3}-/.test(text), "must lie between the years 1000 and 9999")
  .transform((text) => new Date(text));

/** The place of a row in a list by time. PostgreSQL's calendar has no year 0. */
export const TimeKey = z.tuple([Time.regex(/^(?!0000)/), z.guid()]);
