import type { FastifyInstance } from "fastify";
import { findPerson } from "../people.ts";
import type { PubSub } from "../pubsub.ts";
import type { State } from "../state.ts";
import { addGmailApi, type PageSettings } from "./api.ts";
import { type Outgoing, type Sent, sendMail } from "./deliver.ts";
import { type NoticeSettings, openWatching } from "./notify.ts";
import {
  addMessage,
  forgetHistory,
  type Mailbox,
  type Message,
  mailboxOf,
  openStore,
  relabel,
  removeMessage,
  type Store,
  type Watch,
} from "./store.ts";

type Raw = { raw: string | Buffer; labels?: string[]; receivedAt?: Date };

/** The sandbox's mailboxes, for those in the same process. People are named by address; times go by the sandbox's clock. */
export type SandboxGmail = {
  store: Store;
  notices: NoticeSettings;
  pages: PageSettings;
  /** Builds a mail as mail programs do, and delivers it. */
  send(mail: Outgoing): Promise<Sent>;
  /** Puts a mail into a mailbox as it is, byte by byte. Returns its id. */
  inject(person: string, mail: Raw): string;
  /** Many at once, without telling of them. */
  injectAll(person: string, mails: Raw[]): void;
  /** The last version of what a program saves over and over while somebody writes: each is a message of its own. */
  saveDraft(person: string, raw: string, before?: string): string;
  /** Adds and removes labels, as filters and people do; `TRASH` is what deleting does at first. */
  label(person: string, id: string, change: { add?: string[]; remove?: string[] }): void;
  /** Deletes a mail for good. */
  remove(person: string, id: string): void;
  /** `messages.get` answers this instead. */
  makeMalformed(person: string, id: string, answer: unknown): void;
  /** Gmail has forgotten what happened so far. */
  forgetHistory(person: string): void;
  /** The next history id, such as one with more digits than the last. */
  setHistoryId(person: string, id: bigint): void;
  historyId(person: string): bigint;
  messages(person: string): Message[];
  watches(person: string): Watch[];
  /** Resolves when nothing is on its way. */
  settled(): Promise<void>;
};

/** Opens the mailboxes of the sandbox's people, all empty, and serves Gmail v1 for them. */
export function openGmail(server: FastifyInstance, state: State, pubsub: PubSub): SandboxGmail {
  const store = openStore(state);
  const usualPages = { pageSizeCap: 500, emptyPages: false, historyLagMs: 0, changesPerRecord: 1 };
  const pages = { ...usualPages };
  const watching = openWatching(store, pubsub);
  addGmailApi(server, { store, pages, watching });
  state.onReset.push(() => {
    store.mailboxes.clear();
    Object.assign(pages, usualPages);
  });

  const of = (address: string): Mailbox => {
    const person = findPerson(state, address);
    if (!person) throw new Error(`Nobody at the sandbox is ${address}`);
    return mailboxOf(store, person);
  };
  const messageIn = (mailbox: Mailbox, id: string): Message => {
    const message = mailbox.messages.get(id);
    if (!message) throw new Error(`${mailbox.owner.email} has no message ${id}`);
    return message;
  };
  const entryOf = ({ raw, labels = ["INBOX", "UNREAD"], receivedAt }: Raw, isQuiet: boolean) => ({
    raw: typeof raw === "string" ? Buffer.from(raw.replace(/\r?\n/g, "\r\n")) : raw,
    labels,
    isQuiet,
    ...(receivedAt ? { internalDate: receivedAt.getTime() } : {}),
  });

  return {
    store,
    notices: watching.settings,
    pages,
    send: (mail) => sendMail(store, mail),
    inject: (address, mail) => addMessage(store, of(address), entryOf(mail, false)).id,
    injectAll: (address, mails) => {
      for (const mail of mails) addMessage(store, of(address), entryOf(mail, true));
    },
    saveDraft: (address, raw, before) => {
      const mailbox = of(address);
      if (before) removeMessage(store, mailbox, messageIn(mailbox, before));
      return addMessage(store, mailbox, entryOf({ raw, labels: ["DRAFT"] }, false)).id;
    },
    label: (address, id, change) => {
      const mailbox = of(address);
      relabel(store, mailbox, messageIn(mailbox, id), change);
    },
    remove: (address, id) => {
      const mailbox = of(address);
      removeMessage(store, mailbox, messageIn(mailbox, id));
    },
    makeMalformed: (address, id, answer) => {
      messageIn(of(address), id).malformed = answer;
    },
    forgetHistory: (address) => forgetHistory(of(address)),
    setHistoryId: (address, id) => {
      of(address).historyId = id;
    },
    historyId: (address) => of(address).historyId,
    messages: (address) => [...of(address).messages.values()],
    watches: (address) => [...of(address).watches.values()],
    settled: async () => {
      await watching.settled();
      await pubsub.settled();
    },
  };
}
