import { randomBytes } from "node:crypto";
import { findPerson, type Person } from "../people.ts";
import type { State } from "../state.ts";
import { type Header, headerOf, type MimePart, parseHeaders, parseMime } from "./mime.ts";

/** A mail in one mailbox. */
export type Message = {
  id: string;
  threadId: string;
  labels: Set<string>;
  raw: Buffer;
  /** When Gmail took it in, in milliseconds. */
  internalDate: number;
  historyId: bigint;
  /** Answered in the place of what it is. */
  malformed: unknown;
};

export type Change = "messagesAdded" | "messagesDeleted" | "labelsAdded" | "labelsRemoved";

/** What happened to a mailbox at once. */
export type HistoryRecord = {
  id: bigint;
  /** By the real clock, in milliseconds: history may lag behind what is told of it. */
  at: number;
  change: Change;
  message: { id: string; threadId: string; labelIds: string[] };
  labelIds: string[];
};

export type Watch = { projectId: string; topic: string; expiresAt: Date };

export type Mailbox = {
  owner: Person;
  messages: Map<string, Message>;
  history: HistoryRecord[];
  historyId: bigint;
  /** History before this id is forgotten. */
  forgotten: bigint;
  /** One for each Google Cloud project. */
  watches: Map<string, Watch>;
};

export type Store = {
  state: State;
  mailboxes: Map<string, Mailbox>;
  onChange: ((mailbox: Mailbox) => void)[];
};

export function openStore(state: State): Store {
  return { state, mailboxes: new Map(), onChange: [] };
}

/** The mailbox of a person; everybody has one, empty at first. */
export function mailboxOf(store: Store, owner: Person): Mailbox {
  const found = store.mailboxes.get(owner.sub);
  if (found) return found;
  // Just before an id grows by a digit: as texts the next ones would seem to be older.
  const historyId = 999_960n;
  const mailbox = {
    owner,
    messages: new Map(),
    history: [],
    historyId,
    forgotten: historyId,
    watches: new Map(),
  };
  store.mailboxes.set(owner.sub, mailbox);
  return mailbox;
}

/** The mailbox that mail to an address is delivered to, whatever stands behind a plus. */
export function findMailbox(store: Store, address: string): Mailbox | null {
  const person = findPerson(store.state, address.replace(/\+[^@]*(?=@)/, ""));
  return person && mailboxOf(store, person);
}

/** Puts a mail into a mailbox, and tells of it unless `isQuiet`. */
export function addMessage(
  store: Store,
  mailbox: Mailbox,
  mail: { raw: Buffer; labels: string[]; internalDate?: number; isQuiet?: boolean },
): Message {
  const id = randomBytes(8).toString("hex");
  const message: Message = {
    id,
    threadId: threadOf(mailbox, mail.raw) ?? id,
    labels: new Set(mail.labels),
    raw: mail.raw,
    internalDate: mail.internalDate ?? store.state.clock.now().getTime(),
    historyId: 0n,
    malformed: undefined,
  };
  mailbox.messages.set(id, message);
  note(store, mailbox, message, { change: "messagesAdded", isQuiet: mail.isQuiet ?? false });
  return message;
}

/** Adds and removes labels; what changes nothing leaves no trace. */
export function relabel(
  store: Store,
  mailbox: Mailbox,
  message: Message,
  { add = [], remove = [] }: { add?: string[]; remove?: string[] },
): void {
  const added = add.filter((label) => !message.labels.has(label));
  const removed = remove.filter((label) => message.labels.has(label));
  for (const label of added) message.labels.add(label);
  for (const label of removed) message.labels.delete(label);
  if (added.length > 0) note(store, mailbox, message, { change: "labelsAdded", labelIds: added });
  if (removed.length > 0)
    note(store, mailbox, message, { change: "labelsRemoved", labelIds: removed });
}

/** Deletes a mail for good. */
export function removeMessage(store: Store, mailbox: Mailbox, message: Message): void {
  mailbox.messages.delete(message.id);
  note(store, mailbox, message, { change: "messagesDeleted" });
}

/** Forgets all history: whoever asks from an id of today has to begin anew. */
export function forgetHistory(mailbox: Mailbox): void {
  mailbox.historyId += 7n;
  mailbox.forgotten = mailbox.historyId;
  mailbox.history = [];
}

function note(
  store: Store,
  mailbox: Mailbox,
  message: Message,
  { change, labelIds = [], isQuiet = false }: Noted,
): void {
  mailbox.historyId += BigInt(1 + Math.floor(Math.random() * 9));
  message.historyId = mailbox.historyId;
  mailbox.history.push({
    id: mailbox.historyId,
    at: Date.now(),
    change,
    message: { id: message.id, threadId: message.threadId, labelIds: [...message.labels] },
    labelIds,
  });
  if (!isQuiet) for (const tell of store.onChange) tell(mailbox);
}

type Noted = { change: Change; labelIds?: string[]; isQuiet?: boolean };

const trees = new WeakMap<Message, MimePart>();
const heads = new WeakMap<Message, Header[]>();

/** A mail's parts, read when they are first asked for. */
export function treeOf(message: Message): MimePart {
  const tree = trees.get(message) ?? parseMime(message.raw);
  trees.set(message, tree);
  return tree;
}

export function headersOf(message: Message): Header[] {
  const headers = heads.get(message) ?? parseHeaders(message.raw);
  heads.set(message, headers);
  return headers;
}

// Gmail joins what answers a mail that is there; a conversation of thousands is none.
function threadOf({ messages }: Mailbox, raw: Buffer): string | null {
  const headers = parseHeaders(raw);
  const named = `${headerOf(headers, "in-reply-to")} ${headerOf(headers, "references")}`;
  if (!named.trim()) return null;
  for (const message of messages.values()) {
    const id = headerOf(headersOf(message), "message-id");
    if (id && named.includes(id)) return message.threadId;
  }
  return null;
}
