import { randomBytes } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { z } from "zod";
import { GoogleError } from "./errors.ts";
import type { State } from "./state.ts";

/** What goes wrong with push, and how. Shares lie between 0 and 1. */
export type PushSettings = {
  isOn: boolean;
  /** From the change to the message. */
  delayMs: number;
  dropShare: number;
  /** How many of the next messages are lost. */
  dropNext: number;
  doubleShare: number;
  /** Up to this much longer, at random: messages then overtake each other. */
  jitterMs: number;
  /** The first message is sent before the answer that opens the channel. */
  isSyncFirst: boolean;
  /** Addresses without TLS are taken too, as Google never does. */
  allowHttp: boolean;
};

const usualPush: PushSettings = {
  isOn: true,
  delayMs: 50,
  dropShare: 0,
  dropNext: 0,
  doubleShare: 0,
  jitterMs: 0,
  isSyncFirst: false,
  allowHttp: true,
};

/** What a channel is about, as Google describes it. */
export type WatchedResource = {
  /** The same thing has the same resource id in every channel. */
  target: object;
  /** Below the base address. */
  uri: string;
  longestMs: number;
  /** Without an asked expiration. */
  usualMs: number;
};

/** What is told of a change. */
export type Told = { state: string; changed?: string };

export type Channel<Watched> = {
  id: string;
  token: string | null;
  address: string;
  resourceId: string;
  resourceUri: string;
  /** Whoever opened it, by account id or address. */
  owner: string;
  expiresAt: Date;
  messageNumber: number;
  watched: Watched;
  /** How the messages so far were answered, lost ones as 0. */
  answers: number[];
};

const ChannelInput = z.looseObject({
  id: z.string().regex(/^[A-Za-z0-9\-_+/=]{1,64}$/, "Channel id not valid"),
  type: z.enum(["web_hook", "webhook"]),
  address: z.url({ protocol: /^https?$/ }),
  token: z.string().max(256).optional(),
  expiration: z.coerce.number().optional(),
  params: z.looseObject({ ttl: z.coerce.number().optional() }).optional(),
});

/** Push: the channels that are open, and what is on its way to them. */
export type Channels<Watched> = {
  settings: PushSettings;
  list(): Channel<Watched>[];
  open(owner: string, watched: Watched, body: unknown): Promise<Record<string, unknown>>;
  stop(owner: string | null, body: unknown): void;
  /** Tells every channel that a change concerns. */
  announce(tell: (watched: Watched) => Told | null): void;
  /** Resolves when no message is on its way. */
  settled(): Promise<void>;
  close(): void;
};

const retryAfterMs = [200, 400, 800, 1600, 3200];
const triedAgain = new Set([500, 502, 503, 504]);

/** Opens push for one API. */
export function openChannels<Watched>(
  state: State,
  describe: (watched: Watched) => WatchedResource,
): Channels<Watched> {
  const channels = new Map<string, Channel<Watched>>();
  const usedIds = new Set<string>();
  const settings = { ...usualPush };
  const closing = new AbortController();
  const onTheirWay = new Set<Promise<void>>();
  const waiting = new Map<Channel<Watched>, Told>();
  const now = () => state.clock.now();

  const send = (channel: Channel<Watched>, told: Told): void => {
    channel.messageNumber += told.state === "sync" ? 1 : 1 + Math.floor(Math.random() * 4);
    const number = channel.messageNumber;
    const times = Math.random() < settings.doubleShare ? 2 : 1;
    if (settings.dropNext > 0 || Math.random() < settings.dropShare) {
      settings.dropNext = Math.max(0, settings.dropNext - 1);
      channel.answers.push(0);
      return;
    }
    for (let time = 0; time < times; time += 1) {
      const message = deliver(channel, told, number).finally(() => onTheirWay.delete(message));
      onTheirWay.add(message);
    }
  };

  const deliver = async (channel: Channel<Watched>, told: Told, number: number): Promise<void> => {
    for (const pauseMs of [Math.random() * settings.jitterMs, ...retryAfterMs]) {
      await sleep(pauseMs, undefined, { signal: closing.signal }).catch(() => {});
      if (closing.signal.aborted || !channels.has(channel.id) || channel.expiresAt <= now()) return;
      const status = await post(channel, told, number, closing.signal);
      channel.answers.push(status);
      if (!triedAgain.has(status)) return;
    }
  };

  // Changes close to each other share one message, the last of them.
  const announce = (channel: Channel<Watched>, told: Told): void => {
    if (!settings.isOn || channel.expiresAt <= now()) return;
    const isOnItsWay = waiting.has(channel);
    waiting.set(channel, told);
    if (isOnItsWay) return;
    const message = sleep(settings.delayMs, undefined, { signal: closing.signal })
      .catch(() => {})
      .then(() => {
        const last = waiting.get(channel) ?? told;
        waiting.delete(channel);
        if (!closing.signal.aborted) send(channel, last);
      })
      .finally(() => onTheirWay.delete(message));
    onTheirWay.add(message);
  };

  return {
    settings,
    list: () => [...channels.values()].filter(({ expiresAt }) => expiresAt > now()),
    open: async (owner, watched, body) => {
      const input = ChannelInput.parse(body);
      const { target, uri, longestMs, usualMs } = describe(watched);
      if (!settings.allowHttp && !input.address.startsWith("https:")) {
        throw new GoogleError(
          400,
          "push.webhookUrlNotHttps",
          `WebHook callback must be HTTPS: ${input.address}`,
        );
      }
      if (usedIds.has(input.id))
        throw new GoogleError(400, "channelIdNotUnique", `Channel id ${input.id} not unique`);
      usedIds.add(input.id);
      const asked = input.params?.ttl
        ? now().getTime() + input.params.ttl * 1000
        : (input.expiration ?? now().getTime() + usualMs);
      const channel: Channel<Watched> = {
        id: input.id,
        token: input.token ?? null,
        address: input.address,
        resourceId: resourceIdOf(target),
        resourceUri: `${state.baseUrl()}${uri}`,
        owner,
        expiresAt: new Date(Math.min(asked, now().getTime() + longestMs)),
        messageNumber: 0,
        watched,
        answers: [],
      };
      channels.set(channel.id, channel);
      if (settings.isOn) send(channel, { state: "sync" });
      if (settings.isSyncFirst) await Promise.all(onTheirWay);
      return {
        kind: "api#channel",
        id: channel.id,
        resourceId: channel.resourceId,
        resourceUri: channel.resourceUri,
        ...(channel.token ? { token: channel.token } : {}),
        expiration: String(channel.expiresAt.getTime()),
      };
    },
    stop: (owner, body) => {
      const { id, resourceId } = z
        .looseObject({ id: z.string(), resourceId: z.string() })
        .parse(body);
      const channel = channels.get(id);
      const isTheirs = channel?.resourceId === resourceId && channel.owner === owner;
      if (!channel || !isTheirs || channel.expiresAt <= now()) {
        throw new GoogleError(404, "notFound", `Channel '${id}' not found for project`);
      }
      channels.delete(id);
    },
    announce: (tell) => {
      for (const channel of channels.values()) {
        const told = tell(channel.watched);
        if (told) announce(channel, told);
      }
    },
    settled: async () => {
      while (onTheirWay.size > 0) await Promise.all(onTheirWay);
    },
    close: () => closing.abort(),
  };
}

const resourceIds = new WeakMap<object, string>();

function resourceIdOf(target: object): string {
  const id = resourceIds.get(target) ?? randomBytes(20).toString("base64url");
  resourceIds.set(target, id);
  return id;
}

async function post(
  channel: Channel<unknown>,
  { state, changed }: Told,
  number: number,
  closing: AbortSignal,
): Promise<number> {
  try {
    const answer = await fetch(channel.address, {
      method: "POST",
      headers: {
        "user-agent": "APIs-Google; (+https://developers.google.com/webmasters/APIs-Google.html)",
        "x-goog-channel-id": channel.id,
        ...(channel.token ? { "x-goog-channel-token": channel.token } : {}),
        "x-goog-channel-expiration": channel.expiresAt.toUTCString(),
        "x-goog-resource-id": channel.resourceId,
        "x-goog-resource-uri": channel.resourceUri,
        "x-goog-resource-state": state,
        ...(changed ? { "x-goog-changed": changed } : {}),
        "x-goog-message-number": String(number),
      },
      redirect: "manual",
      signal: AbortSignal.any([closing, AbortSignal.timeout(10_000)]),
    });
    await answer.arrayBuffer();
    return answer.status;
  } catch {
    return 503;
  }
}
