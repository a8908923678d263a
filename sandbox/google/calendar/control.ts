import type { FastifyInstance } from "fastify";
import { z } from "zod";
import type { SandboxCalendar } from "./calendar.ts";
import { EventInput } from "./changes.ts";

const share = z.number().min(0).max(1);

const PushChange = z.strictObject({
  isOn: z.boolean().optional(),
  delayMs: z.number().int().min(0).optional(),
  dropShare: share.optional(),
  dropNext: z.number().int().min(0).optional(),
  doubleShare: share.optional(),
  jitterMs: z.number().int().min(0).optional(),
  isSyncFirst: z.boolean().optional(),
  allowHttp: z.boolean().optional(),
});
const PageChange = z.strictObject({
  pageSizeCap: z.number().int().min(1).optional(),
  emptyPages: z.boolean().optional(),
});
const Where = { person: z.string().min(1), calendarId: z.string().optional() };

/** The calendars' part of the control API, under `/_control/calendar`: what goes wrong there, and changes by hand. */
export function addCalendarControl(control: FastifyInstance, calendar: SandboxCalendar): void {
  control.get("/calendar/channels", () => ({
    channels: calendar.channels().map(({ id, address, expiresAt, messageNumber, answers }) => ({
      ...{ id, address, expiresAt, messageNumber, answers },
    })),
  }));
  control.patch("/calendar/push", ({ body }) =>
    Object.assign(calendar.push, PushChange.parse(body)),
  );
  control.patch("/calendar/pages", ({ body }) =>
    Object.assign(calendar.pages, PageChange.parse(body)),
  );
  control.post("/calendar/expire-sync-tokens", () => {
    calendar.expireSyncTokens();
    return { expired: true };
  });
  control.post("/calendar/events", ({ body }, reply) => {
    const { person, calendarId, event } = z
      .strictObject({ ...Where, event: EventInput })
      .parse(body);
    return reply.code(201).send(calendar.addEvent(person, event, calendarId ? { calendarId } : {}));
  });
  control.post("/calendar/malformed", ({ body }, reply) => {
    const { person, calendarId, item } = z
      .strictObject({ ...Where, item: z.unknown() })
      .parse(body);
    calendar.injectMalformed(person, item, calendarId ? { calendarId } : {});
    return reply.code(201).send({ injected: true });
  });
}
