import { randomBytes } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import type { FastifyInstance } from "fastify";
import { z } from "zod";
import { requireAccess } from "./access.ts";
import { addEndpoint } from "./endpoints.ts";
import { GoogleError } from "./errors.ts";
import { signIdToken } from "./keys.ts";
import type { State } from "./state.ts";

/** What goes wrong between a message and whoever is to have it. Shares lie between 0 and 1. */
export type DeliverySettings = {
  /** From the message to its first delivery. */
  delayMs: number;
  /** Up to this much longer, at random: messages then overtake each other. */
  jitterMs: number;
  dropShare: number;
  /** How many of the next messages are lost. */
  dropNext: number;
  doubleShare: number;
  /** The pauses before a message is delivered again; Pub/Sub's own grow up to ten minutes. */
  retryAfterMs: number[];
  /** How long a pull waits for a first message. */
  pullWaitMs: number;
  /** How long a pulled message may stay without acknowledgement. */
  ackDeadlineMs: number;
};

const usualDelivery: DeliverySettings = {
  delayMs: 20,
  jitterMs: 0,
  dropShare: 0,
  dropNext: 0,
  doubleShare: 0,
  retryAfterMs: [100, 200, 400, 800, 1600, 3200],
  pullWaitMs: 5_000,
  ackDeadlineMs: 10_000,
};

export type Topic = {
  name: string;
  /** Whether Gmail's service account may publish to it. */
  letsGmailPublish: boolean;
};

export type Subscription = {
  name: string;
  topic: string;
  /** Where messages are pushed; without it they wait to be pulled. */
  push: { endpoint: string; audience?: string; serviceAccount: string } | null;
  /** How the pushes so far were answered, lost ones as 0. */
  answers: number[];
};

type Message = { data: string; messageId: string; publishTime: string };
type Pending = { message: Message; visibleAt: number; ackId: string };

/** Pub/Sub: topics, and subscriptions that push with a signed token or are pulled from. */
export type PubSub = {
  settings: DeliverySettings;
  topics: Map<string, Topic>;
  subscriptions: Map<string, Subscription>;
  /** Adds a subscription, or changes it; its topic is made where it is missing. */
  subscribe(subscription: Omit<Subscription, "answers">): Subscription;
  /** Sends a message to all subscriptions of a topic. */
  publish(topic: string, content: unknown): void;
  /** Resolves when no push is on its way. */
  settled(): Promise<void>;
  close(): void;
};

/** The topic that is there from the beginning. */
export const usualTopic = "projects/sandbox-project/topics/gmail";

const acknowledged = new Set([102, 200, 201, 202, 204]);
const scopes = ["pubsub", "cloud-platform"].map(
  (name) => `https://www.googleapis.com/auth/${name}`,
);

/** Opens Pub/Sub and serves what a subscriber calls. Source: Pub/Sub v1, `projects.subscriptions`. */
export function openPubSub(server: FastifyInstance, state: State): PubSub {
  const settings = { ...usualDelivery };
  const topics = new Map<string, Topic>();
  const subscriptions = new Map<string, Subscription>();
  const waiting = new Map<string, Pending[]>();
  const closing = new AbortController();
  const onTheirWay = new Set<Promise<void>>();
  let lastId = 2_070_443_601_311_540n;
  const begin = () => {
    Object.assign(settings, usualDelivery);
    for (const kept of [topics, subscriptions, waiting]) kept.clear();
    topics.set(usualTopic, { name: usualTopic, letsGmailPublish: true });
  };
  begin();
  state.onReset.push(begin);

  const pause = (ms: number) => sleep(ms, undefined, { signal: closing.signal }).catch(() => {});
  const push = async (subscription: Subscription, message: Message): Promise<void> => {
    const { delayMs, jitterMs, retryAfterMs } = settings;
    for (const pauseMs of [delayMs + Math.random() * jitterMs, ...retryAfterMs]) {
      await pause(pauseMs);
      if (closing.signal.aborted || !subscriptions.has(subscription.name)) return;
      const status = await post(state, subscription, message, closing.signal);
      subscription.answers.push(status);
      if (acknowledged.has(status)) return;
    }
  };
  const deliver = (subscription: Subscription, message: Message): void => {
    if (settings.dropNext > 0 || Math.random() < settings.dropShare) {
      settings.dropNext = Math.max(0, settings.dropNext - 1);
      subscription.answers.push(0);
      return;
    }
    const times = Math.random() < settings.doubleShare ? 2 : 1;
    for (let time = 0; time < times; time += 1) {
      if (subscription.push) {
        const sending = push(subscription, message).finally(() => onTheirWay.delete(sending));
        onTheirWay.add(sending);
      } else {
        const ackId = randomBytes(24).toString("base64url");
        const pending = waiting.get(subscription.name) ?? [];
        waiting.set(subscription.name, [...pending, { message, visibleAt: 0, ackId }]);
      }
    }
  };

  const named = (params: unknown): Subscription => {
    const { project, subscription } = z
      .looseObject({ project: z.string(), subscription: z.string() })
      .parse(params);
    const name = `projects/${project}/subscriptions/${subscription}`;
    const found = subscriptions.get(name);
    if (!found) throw new GoogleError(404, "notFound", `Resource not found (resource=${name}).`);
    return found;
  };
  const take = (subscription: Subscription, most: number): Pending[] => {
    const now = Date.now();
    const ready = (waiting.get(subscription.name) ?? [])
      .filter(({ visibleAt }) => visibleAt <= now)
      .slice(0, most);
    for (const one of ready) {
      one.visibleAt = now + settings.ackDeadlineMs;
      one.ackId = randomBytes(24).toString("base64url");
    }
    return ready;
  };
  const verb = (name: string, answer: (subscription: Subscription, body: unknown) => unknown) =>
    addEndpoint(server, state, {
      name: `pubsub.subscriptions.${name}`,
      method: "POST",
      paths: [`/v1/projects/:project/subscriptions/:subscription([^:]+)::${name}`],
      errors: "api",
      answer: async (request) => {
        requireAccess(state, request, { anyOf: scopes });
        return { body: await answer(named(request.params), request.body) };
      },
    });
  verb("pull", async (subscription, body) => {
    const { maxMessages } = z.looseObject({ maxMessages: z.number().int().min(1) }).parse(body);
    for (const until = Date.now() + settings.pullWaitMs; ; await pause(20)) {
      const taken = take(subscription, maxMessages);
      if (taken.length === 0 && Date.now() < until && !closing.signal.aborted) continue;
      return taken.length === 0
        ? {}
        : { receivedMessages: taken.map(({ ackId, message }) => ({ ackId, message })) };
    }
  });
  verb("acknowledge", (subscription, body) => {
    const { ackIds } = z.looseObject({ ackIds: z.array(z.string()).min(1) }).parse(body);
    const pending = waiting.get(subscription.name) ?? [];
    waiting.set(
      subscription.name,
      pending.filter(({ ackId }) => !ackIds.includes(ackId)),
    );
    return {};
  });
  addEndpoint(server, state, {
    name: "pubsub.subscriptions.get",
    method: "GET",
    paths: ["/v1/projects/:project/subscriptions/:subscription"],
    errors: "api",
    answer: (request) => {
      requireAccess(state, request, { anyOf: scopes });
      const { name, topic, push } = named(request.params);
      const pushConfig = push ? pushConfigOf(push) : {};
      return {
        body: { name, topic, pushConfig, ackDeadlineSeconds: settings.ackDeadlineMs / 1000 },
      };
    },
  });

  return {
    settings,
    topics,
    subscriptions,
    subscribe: (wanted) => {
      const subscription = { ...wanted, answers: [] };
      subscriptions.set(wanted.name, subscription);
      if (!topics.has(wanted.topic))
        topics.set(wanted.topic, { name: wanted.topic, letsGmailPublish: true });
      return subscription;
    },
    publish: (topic, content) => {
      lastId += 1n;
      const message = {
        data: Buffer.from(JSON.stringify(content)).toString("base64"),
        messageId: String(lastId),
        publishTime: state.clock.now().toISOString(),
      };
      for (const subscription of subscriptions.values()) {
        if (subscription.topic === topic) deliver(subscription, message);
      }
    },
    settled: async () => {
      while (onTheirWay.size > 0) await Promise.all(onTheirWay);
    },
    close: () => closing.abort(),
  };
}

function pushConfigOf({ endpoint, audience, serviceAccount }: NonNullable<Subscription["push"]>) {
  return {
    pushEndpoint: endpoint,
    oidcToken: { serviceAccountEmail: serviceAccount, ...(audience ? { audience } : {}) },
  };
}

/** The token that Pub/Sub sends along with a push. Without a configured audience it is for the endpoint. */
function pushToken(
  state: State,
  { endpoint, audience, serviceAccount }: NonNullable<Subscription["push"]>,
): Promise<string> {
  return signIdToken(state, {
    aud: audience ?? endpoint,
    azp: "113774264463038321964",
    sub: "113774264463038321964",
    email: serviceAccount,
    email_verified: true,
  });
}

async function post(
  state: State,
  { name, push }: Subscription,
  message: Message,
  closing: AbortSignal,
): Promise<number> {
  if (!push) return 0;
  const { messageId, publishTime } = message;
  // Both spellings are sent.
  const both = { ...message, message_id: messageId, publish_time: publishTime };
  try {
    const answer = await fetch(push.endpoint, {
      method: "POST",
      headers: {
        "content-type": "application/json",
        "user-agent": "APIs-Google; (+https://developers.google.com/webmasters/APIs-Google.html)",
        authorization: `Bearer ${await pushToken(state, push)}`,
      },
      body: JSON.stringify({ message: both, subscription: name }),
      redirect: "manual",
      signal: AbortSignal.any([closing, AbortSignal.timeout(10_000)]),
    });
    await answer.arrayBuffer();
    return answer.status;
  } catch {
    return 503;
  }
}
