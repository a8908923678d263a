import type { FastifyInstance } from "fastify";
import { z } from "zod";
import type { PubSub } from "../pubsub.ts";
import type { SandboxGmail } from "./gmail.ts";
import { headerOf } from "./mime.ts";
import { headersOf } from "./store.ts";

const share = z.number().min(0).max(1);
const addresses = z.array(z.string().min(3).max(998)).max(500).default([]);

/** A mail as the control API, the command line and the page take it. */
const MailInput = z.strictObject({
  from: z.string().min(3).max(998),
  to: addresses,
  cc: addresses,
  bcc: addresses,
  /** Delivered to these besides, though no header names them. */
  alsoTo: addresses,
  subject: z.string().max(10_000).default(""),
  text: z.string().max(1_000_000).default(""),
  html: z.string().max(1_000_000).optional(),
  headers: z.record(z.string(), z.string().max(10_000)).default({}),
  inReplyTo: z.string().max(998).optional(),
  attachments: z
    .array(z.strictObject({ filename: z.string(), content: z.string().max(1_000_000) }))
    .max(50)
    .default([]),
  /** What the receiving server finds: "pass", "fail", "none", or the header's own text. */
  authentication: z.string().max(10_000).default("pass"),
});

const NoticeChange = z.strictObject({
  isOn: z.boolean().optional(),
  mostPerSecond: z.number().int().min(0).optional(),
});
const PageChange = z.strictObject({
  pageSizeCap: z.number().int().min(1).optional(),
  emptyPages: z.boolean().optional(),
  historyLagMs: z.number().int().min(0).optional(),
  changesPerRecord: z.number().int().min(1).optional(),
});
const DeliveryChange = z.strictObject({
  delayMs: z.number().int().min(0).optional(),
  jitterMs: z.number().int().min(0).optional(),
  dropShare: share.optional(),
  dropNext: z.number().int().min(0).optional(),
  doubleShare: share.optional(),
  retryAfterMs: z.array(z.number().int().min(0)).optional(),
  pullWaitMs: z.number().int().min(0).optional(),
  ackDeadlineMs: z.number().int().min(0).optional(),
});
const Subscription = z.strictObject({
  topic: z.string(),
  push: z
    .strictObject({
      endpoint: z.url({ protocol: /^https?$/ }),
      audience: z.string().exactOptional(),
      serviceAccount: z.email(),
    })
    .nullable()
    .default(null),
});
const Person = z.object({ person: z.string() });
const Message = Person.extend({ id: z.string() });

/** Mail's part of the control API, under `/_control/gmail` and `/_control/pubsub`. */
export function addGmailControl(
  control: FastifyInstance,
  { gmail, pubsub }: { gmail: SandboxGmail; pubsub: PubSub },
): void {
  control.post("/gmail/send", async ({ body }, reply) => {
    const { html, inReplyTo, ...mail } = MailInput.parse(body);
    const more = { ...(html ? { html } : {}), ...(inReplyTo ? { inReplyTo } : {}) };
    return reply.code(201).send(await gmail.send({ ...mail, ...more }));
  });
  control.get("/gmail/:person/messages", ({ params }) => ({
    messages: gmail
      .messages(Person.parse(params).person)
      .map((message) => ({
        id: message.id,
        labels: [...message.labels],
        subject: headerOf(headersOf(message), "subject"),
        receivedAt: new Date(message.internalDate),
      }))
      .slice(-200),
  }));
  control.patch("/gmail/:person/messages/:id", ({ params, body }) => {
    const { person, id } = Message.parse(params);
    const names = z.array(z.string()).default([]);
    gmail.label(person, id, z.strictObject({ add: names, remove: names }).parse(body));
    return { changed: true };
  });
  control.delete("/gmail/:person/messages/:id", ({ params }) => {
    const { person, id } = Message.parse(params);
    gmail.remove(person, id);
    return { deleted: true };
  });
  control.post("/gmail/:person/forget-history", ({ params }) => {
    gmail.forgetHistory(Person.parse(params).person);
    return { forgotten: true };
  });
  control.get("/gmail/:person/watches", ({ params }) => ({
    watches: gmail.watches(Person.parse(params).person),
  }));
  control.patch("/gmail/notices", ({ body }) =>
    Object.assign(gmail.notices, NoticeChange.parse(body)),
  );
  control.patch("/gmail/pages", ({ body }) => Object.assign(gmail.pages, PageChange.parse(body)));
  control.patch("/pubsub/delivery", ({ body }) =>
    Object.assign(pubsub.settings, DeliveryChange.parse(body)),
  );
  control.get("/pubsub/subscriptions", () => ({
    subscriptions: [...pubsub.subscriptions.values()],
  }));
  // Names hold slashes.
  control.put("/pubsub/subscriptions/*", ({ params, body }) => {
    const { "*": name } = z.object({ "*": z.string().min(1) }).parse(params);
    return pubsub.subscribe({ name, ...Subscription.parse(body) });
  });
}
