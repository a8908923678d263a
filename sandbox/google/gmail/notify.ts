import { setTimeout as sleep } from "node:timers/promises";
import { z } from "zod";
import { GoogleError } from "../errors.ts";
import type { PubSub } from "../pubsub.ts";
import type { Mailbox, Store } from "./store.ts";

/** How mailboxes tell that they changed. */
export type NoticeSettings = {
  isOn: boolean;
  /** Of a mailbox; what is more is dropped, as Gmail drops it. */
  mostPerSecond: number;
};

const usualNotices: NoticeSettings = { isOn: true, mostPerSecond: 1 };

/** Who is watched, and what is told of them. */
export type Watching = {
  settings: NoticeSettings;
  watch(
    mailbox: Mailbox,
    projectId: string,
    body: unknown,
  ): { historyId: string; expiration: string };
  /** Resolves when nothing is on its way to a topic. */
  settled(): Promise<void>;
};

const lifeMs = 7 * 86_400_000;
const togetherMs = 20;

const WatchInput = z.looseObject({
  topicName: z.string().regex(/^projects\/[^/]+\/topics\/[^/]+$/, "Invalid topicName"),
  labelIds: z.array(z.string()).optional(),
});

/** Publishes the changes of watched mailboxes, whatever labels were asked for: the filter is known to be coarse. */
export function openWatching(store: Store, pubsub: PubSub): Watching {
  const settings = { ...usualNotices };
  const sentAt = new Map<Mailbox, number[]>();
  const waiting = new Map<Mailbox, Promise<void>>();
  const now = () => store.state.clock.now();
  store.state.onReset.push(() => Object.assign(settings, usualNotices));

  const tell = ({ owner, historyId }: Mailbox, topic: string): void => {
    // Seen as a number in reality, as a string in the guide.
    const isSafe = historyId <= BigInt(Number.MAX_SAFE_INTEGER);
    const told = isSafe ? Number(historyId) : String(historyId);
    pubsub.publish(topic, { emailAddress: owner.email, historyId: told });
  };

  store.onChange.push((mailbox) => {
    if (!settings.isOn || waiting.has(mailbox)) return;
    const recent = (sentAt.get(mailbox) ?? []).filter((at) => at > Date.now() - 1_000);
    if (recent.length >= settings.mostPerSecond) return;
    sentAt.set(mailbox, [...recent, Date.now()]);
    const telling = sleep(togetherMs).then(() => {
      waiting.delete(mailbox);
      for (const { topic, expiresAt } of mailbox.watches.values())
        if (expiresAt > now()) tell(mailbox, topic);
    });
    waiting.set(mailbox, telling);
  });

  return {
    settings,
    watch: (mailbox, projectId, body) => {
      const { topicName } = WatchInput.parse(body);
      if (topicName.split("/")[1] !== projectId) {
        throw new GoogleError(
          400,
          "invalidArgument",
          `Invalid topicName does not match projects/${projectId}/topics/*`,
        );
      }
      const topic = pubsub.topics.get(topicName);
      if (!topic) {
        throw new GoogleError(404, "notFound", `Resource not found (resource=${topicName}).`);
      }
      if (!topic.letsGmailPublish) {
        throw new GoogleError(
          403,
          "forbidden",
          `Error sending test message to Cloud PubSub ${topicName} : User not authorized to perform this action.`,
        );
      }
      const other = mailbox.watches.get(projectId);
      if (other && other.topic !== topicName && other.expiresAt > now()) {
        throw new GoogleError(
          400,
          "failedPrecondition",
          "Only one user push notification client allowed per developer (call /stop then try again)",
        );
      }
      const expiresAt = new Date(now().getTime() + lifeMs);
      mailbox.watches.set(projectId, { projectId, topic: topicName, expiresAt });
      if (settings.isOn) tell(mailbox, topicName);
      return { historyId: String(mailbox.historyId), expiration: String(expiresAt.getTime()) };
    },
    settled: async () => {
      while (waiting.size > 0) await Promise.all(waiting.values());
    },
  };
}
