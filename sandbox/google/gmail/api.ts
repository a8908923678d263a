import type { FastifyInstance, FastifyRequest } from "fastify";
import { z } from "zod";
import { type Access, requireAccess } from "../access.ts";
import { type Answer, addEndpoint } from "../endpoints.ts";
import { GoogleError } from "../errors.ts";
import type { Watching } from "./notify.ts";
import { asksForHidden, readSearch } from "./search.ts";
import {
  type Change,
  type HistoryRecord,
  type Mailbox,
  type Message,
  mailboxOf,
  type Store,
} from "./store.ts";
import { attachmentOf, type Format, messageOf } from "./view.ts";

const scope = (name: string) => `https://www.googleapis.com/auth/${name}`;
const readAll = ["https://mail.google.com/", ...["gmail.modify", "gmail.readonly"].map(scope)];
const readHeads = [...readAll, scope("gmail.metadata")];

// Units of quota. Source: Gmail API, "Usage limits", the table that holds since May 2026.
const costs = { profile: 1, list: 5, get: 20, history: 2, labels: 1, watch: 100, stop: 50 };

/** How pages are cut. */
export type PageSettings = {
  pageSizeCap: number;
  /** Some pages are empty, and have a next one all the same. */
  emptyPages: boolean;
  /** Real milliseconds that history lags behind what is told of it. */
  historyLagMs: number;
  /** How many changes one record of history tells of. */
  changesPerRecord: number;
};

type Parts = { store: Store; pages: PageSettings; watching: Watching };
type Call = { request: FastifyRequest; access: Access; mailbox: Mailbox };

/** Serves Gmail v1 as its discovery document has it. */
export function addGmailApi(server: FastifyInstance, { store, pages, watching }: Parts): void {
  const { state } = store;
  const endpoint = (
    name: string | ((request: FastifyRequest) => string),
    [method, path]: ["GET" | "POST", string],
    need: { scopes: string[]; cost: number; answer: (call: Call) => Answer },
  ) =>
    addEndpoint(server, state, {
      name,
      method,
      paths: [`/gmail/v1/users/:userId/${path}`],
      errors: "api",
      cost: need.cost,
      answer: (request) => {
        const access = requireAccess(state, request, { anyOf: need.scopes, method: "gmail.v1" });
        const { person } = access;
        // A service account without delegation has no mailbox.
        if (!person) throw new GoogleError(400, "failedPrecondition", "Precondition check failed.");
        const { userId } = Params.parse(request.params);
        if (userId !== "me" && userId.toLowerCase() !== person.email.toLowerCase()) {
          throw new GoogleError(403, "forbidden", `Delegation denied for ${userId}`);
        }
        return need.answer({ request, access, mailbox: mailboxOf(store, person) });
      },
    });

  endpoint("gmail.getProfile", ["GET", "profile"], {
    scopes: readHeads,
    cost: costs.profile,
    answer: ({ mailbox }) => ({
      body: {
        emailAddress: mailbox.owner.email,
        messagesTotal: mailbox.messages.size,
        threadsTotal: new Set([...mailbox.messages.values()].map(({ threadId }) => threadId)).size,
        historyId: String(mailbox.historyId),
      },
    }),
  });
  endpoint("gmail.messages.list", ["GET", "messages"], {
    scopes: readHeads,
    cost: costs.list,
    answer: ({ request, access, mailbox }) => {
      const query = ListQuery.parse(request.query);
      if (query.q !== "" && readsHeadsOnly(access)) {
        throw new GoogleError(
          403,
          "insufficientPermissions",
          "Metadata scope does not support 'q' parameter",
        );
      }
      return { body: listMessages(store, pages, mailbox, query) };
    },
  });
  // The name tells the format: the log of requests shows whose body was asked for.
  endpoint(
    (request) => `gmail.messages.get.${GetQuery.catch(usualGet).parse(request.query).format}`,
    ["GET", "messages/:id"],
    {
      scopes: readHeads,
      cost: costs.get,
      answer: ({ request, access, mailbox }) => {
        const { format, metadataHeaders } = GetQuery.parse(request.query);
        if ((format === "full" || format === "raw") && readsHeadsOnly(access)) {
          throw new GoogleError(
            403,
            "insufficientPermissions",
            "Metadata scope doesn't allow format FULL",
          );
        }
        return { body: messageOf(getMessage(mailbox, request), format, metadataHeaders) };
      },
    },
  );
  endpoint("gmail.messages.attachments.get", ["GET", "messages/:id/attachments/:attachmentId"], {
    scopes: readAll,
    cost: costs.get,
    answer: ({ request, mailbox }) => {
      const { attachmentId } = Params.parse(request.params);
      const bytes = attachmentOf(getMessage(mailbox, request), attachmentId);
      if (!bytes) throw new GoogleError(400, "invalidArgument", "Invalid attachment token");
      return { body: { size: bytes.length, data: bytes.toString("base64url") } };
    },
  });
  endpoint("gmail.history.list", ["GET", "history"], {
    scopes: readHeads,
    cost: costs.history,
    answer: ({ request, mailbox }) => ({
      body: listHistory(pages, mailbox, HistoryQuery.parse(request.query)),
    }),
  });
  endpoint("gmail.labels.list", ["GET", "labels"], {
    scopes: [...readHeads, scope("gmail.labels")],
    cost: costs.labels,
    answer: ({ mailbox }) => ({ body: { labels: labelsOf(mailbox) } }),
  });
  endpoint("gmail.labels.get", ["GET", "labels/:id"], {
    scopes: [...readHeads, scope("gmail.labels")],
    cost: costs.labels,
    answer: ({ request, mailbox }) => {
      const label = labelsOf(mailbox).find(({ id }) => id === Params.parse(request.params).id);
      if (!label) throw new GoogleError(404, "notFound");
      const messages = [...mailbox.messages.values()].filter(({ labels }) => labels.has(label.id));
      return { body: { ...label, messagesTotal: messages.length } };
    },
  });
  endpoint("gmail.watch", ["POST", "watch"], {
    scopes: readHeads,
    cost: costs.watch,
    answer: ({ request, access, mailbox }) => ({
      body: watching.watch(mailbox, projectOf(store, access), request.body),
    }),
  });
  endpoint("gmail.stop", ["POST", "stop"], {
    scopes: readHeads,
    cost: costs.stop,
    answer: ({ access, mailbox }) => {
      mailbox.watches.delete(projectOf(store, access));
      return { status: 204 };
    },
  });
}

const Params = z.looseObject({
  userId: z.string().default("me"),
  id: z.string().default(""),
  attachmentId: z.string().default(""),
});

const strings = z.union([z.string().transform((one) => [one]), z.array(z.string())]).default([]);
const ListQuery = z.looseObject({
  q: z.string().default(""),
  labelIds: strings,
  maxResults: z.coerce.number().int().min(1).default(100),
  includeSpamTrash: z.stringbool().default(false),
  pageToken: z.string().optional(),
});
const usualGet: { format: Format; metadataHeaders: string[] } = {
  format: "full",
  metadataHeaders: [],
};
const GetQuery = z.looseObject({
  format: z
    .string()
    .transform((format) => format.toLowerCase())
    .pipe(z.enum(["minimal", "metadata", "full", "raw"]))
    .default("full"),
  metadataHeaders: strings,
});
const HistoryQuery = z.looseObject({
  startHistoryId: z.string().regex(/^\d+$/, "Invalid startHistoryId"),
  historyTypes: strings,
  labelId: z.string().optional(),
  maxResults: z.coerce.number().int().min(1).default(100),
  pageToken: z.string().regex(/^\d+$/, "Invalid pageToken").optional(),
});

const PageToken = z
  .string()
  .regex(/^\[\d+,".*"\]$/, "Invalid pageToken")
  .transform((text) => JSON.parse(text))
  .pipe(z.tuple([z.number(), z.string()]));

function readsHeadsOnly({ scopes }: Access): boolean {
  return !readAll.some((one) => scopes.includes(one));
}

function getMessage(mailbox: Mailbox, request: FastifyRequest): Message {
  const message = mailbox.messages.get(Params.parse(request.params).id);
  if (!message) throw new GoogleError(404, "notFound", "Requested entity was not found.");
  return message;
}

// The tokens say where to go on; what came or went meanwhile does not move it.
function listMessages(
  store: Store,
  pages: PageSettings,
  { messages }: Mailbox,
  query: z.output<typeof ListQuery>,
) {
  const matches = readSearch(query.q, store.state.clock.now().getTime());
  const shows = (message: Message) =>
    query.includeSpamTrash ||
    asksForHidden(query.q) ||
    query.labelIds.some((label) => label === "SPAM" || label === "TRASH") ||
    !(message.labels.has("SPAM") || message.labels.has("TRASH"));
  const [before = Number.POSITIVE_INFINITY, lastId = ""] = query.pageToken
    ? PageToken.parse(Buffer.from(query.pageToken, "base64url").toString())
    : [];
  const found = [...messages.values()]
    .filter(
      (message) =>
        message.internalDate < before || (message.internalDate === before && message.id < lastId),
    )
    .filter(
      (message) =>
        shows(message) &&
        query.labelIds.every((label) => message.labels.has(label)) &&
        matches(message),
    )
    .sort((one, other) => other.internalDate - one.internalDate || (one.id < other.id ? 1 : -1));
  const size = Math.min(query.maxResults, 500, pages.pageSizeCap);
  const page = found.slice(0, size);
  const last = page.at(-1);
  const isMore = last !== undefined && found.length > page.length;
  return {
    // The key is absent where nothing was found.
    ...(page.length > 0 ? { messages: page.map(({ id, threadId }) => ({ id, threadId })) } : {}),
    ...(isMore
      ? {
          nextPageToken: Buffer.from(JSON.stringify([last.internalDate, last.id])).toString(
            "base64url",
          ),
        }
      : {}),
    resultSizeEstimate: Math.min(found.length, 201),
  };
}

const historyTypes: Record<Change, string> = {
  messagesAdded: "messageAdded",
  messagesDeleted: "messageDeleted",
  labelsAdded: "labelAdded",
  labelsRemoved: "labelRemoved",
};

function listHistory(pages: PageSettings, mailbox: Mailbox, query: z.output<typeof HistoryQuery>) {
  const since = BigInt(query.startHistoryId);
  if (since < mailbox.forgotten || since > mailbox.historyId) {
    throw new GoogleError(404, "notFound", "Requested entity was not found.");
  }
  const visibleUntil = Date.now() - pages.historyLagMs;
  const visible = mailbox.history.filter(({ at }) => at <= visibleUntil);
  const isLagging = visible.length < mailbox.history.length;
  const current = isLagging ? (visible.at(-1)?.id ?? mailbox.forgotten) : mailbox.historyId;
  const after = query.pageToken ? BigInt(query.pageToken) : since;
  const found = visible.filter(
    (record) =>
      record.id > after &&
      (query.historyTypes.length === 0 ||
        query.historyTypes.includes(historyTypes[record.change])) &&
      (query.labelId === undefined || record.message.labelIds.includes(query.labelId)),
  );
  // An empty page goes before the first, as Gmail sends them at times.
  const isEmpty = pages.emptyPages && query.pageToken === undefined && found.length > 0;
  const most = Math.min(query.maxResults, 500, pages.pageSizeCap) * pages.changesPerRecord;
  const page = isEmpty ? [] : found.slice(0, most);
  const isMore = found.length > page.length;
  return {
    ...(page.length > 0 ? { history: recordsOf(page, pages.changesPerRecord) } : {}),
    ...(isMore ? { nextPageToken: String(page.at(-1)?.id ?? after) } : {}),
    historyId: String(current > since ? current : since),
  };
}

function recordsOf(changes: HistoryRecord[], perRecord: number) {
  const records = Map.groupBy(changes.entries(), ([index]) => Math.floor(index / perRecord));
  return [...records.values()].map((entries) => recordOf(entries.map(([, change]) => change)));
}

function recordOf(changes: HistoryRecord[]) {
  const entries = changes.map(({ change, message, labelIds }) => {
    const { labelIds: labels, ...named } = message;
    const shown = labels.length > 0 ? message : named;
    return {
      change,
      named,
      entry: change.startsWith("labels") ? { message: shown, labelIds } : { message: shown },
    };
  });
  const kinds = Map.groupBy(entries, ({ change }) => change);
  return {
    id: String(changes.at(-1)?.id),
    messages: entries.map(({ named }) => named),
    ...Object.fromEntries([...kinds].map(([kind, all]) => [kind, all.map(({ entry }) => entry)])),
  };
}

const systemLabels = [
  ...["INBOX", "SENT", "DRAFT", "SPAM", "TRASH", "UNREAD", "STARRED", "IMPORTANT", "CHAT"],
  ...["PERSONAL", "SOCIAL", "PROMOTIONS", "UPDATES", "FORUMS"].map((name) => `CATEGORY_${name}`),
];

function labelsOf({ messages }: Mailbox) {
  const own = new Set([...messages.values()].flatMap(({ labels }) => [...labels]));
  const system = systemLabels.map((id) => ({ id, name: id, type: "system" }));
  const theirs = [...own].filter((id) => !systemLabels.includes(id));
  return [...system, ...theirs.map((id) => ({ id, name: id, type: "user" }))];
}

// A service account belongs to the project that its address names.
function projectOf({ state }: Store, { clientId, serviceAccount }: Access): string {
  const client = state.clients.find(({ id }) => id === clientId);
  return client?.projectId ?? /@([^.]+)\./.exec(serviceAccount?.email ?? "")?.[1] ?? "";
}
