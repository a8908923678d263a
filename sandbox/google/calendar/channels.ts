import { randomBytes } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { z } from "zod";
import { GoogleError } from "../errors.ts";
import type { Person } from "../people.ts";
import type { Calendar, Store } from "./store.ts";

const dayMs = 86_400_000;

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

export const usualPush: PushSettings = {
  isOn: true,
  delayMs: 50,
  dropShare: 0,
  dropNext: 0,
  doubleShare: 0,
  jitterMs: 0,
  isSyncFirst: false,
  allowHttp: true,
};

export type Channel = {
  id: string;
  token: string | null;
  address: string;
  resourceId: string;
  resourceUri: string;
  owner: Person;
  expiresAt: Date;
  messageNumber: number;
  watched: { calendar: Calendar } | { listOf: Person };
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
export type Channels = {
  settings: PushSettings;
  list(): Channel[];
  open(
    person: Person,
    watched: Channel["watched"],
    body: unknown,
  ): Promise<Record<string, unknown>>;
  stop(person: Person | null, body: unknown): void;
  /** Resolves when no message is on its way. */
  settled(): Promise<void>;
  close(): void;
};

const longestMs = 30 * dayMs;
const retryAfterMs = [200, 400, 800, 1600, 3200];
const triedAgain = new Set([500, 502, 503, 504]);

export function openChannels(store: Store): Channels {
  const channels = new Map<string, Channel>();
  const usedIds = new Set<string>();
  const settings = { ...usualPush };
  const closing = new AbortController();
  const onTheirWay = new Set<Promise<void>>();
  const waiting = new Set<Channel>();
  const now = () => store.state.clock.now();

  const send = (channel: Channel, state: "sync" | "exists"): void => {
    channel.messageNumber += state === "sync" ? 1 : 1 + Math.floor(Math.random() * 4);
    const number = channel.messageNumber;
    const times = Math.random() < settings.doubleShare ? 2 : 1;
    if (settings.dropNext > 0 || Math.random() < settings.dropShare) {
      settings.dropNext = Math.max(0, settings.dropNext - 1);
      channel.answers.push(0);
      return;
    }
    for (let time = 0; time < times; time += 1) {
      const message = deliver(channel, state, number).finally(() => onTheirWay.delete(message));
      onTheirWay.add(message);
    }
  };

  const deliver = async (channel: Channel, state: string, number: number): Promise<void> => {
    for (const pauseMs of [Math.random() * settings.jitterMs, ...retryAfterMs]) {
      await sleep(pauseMs, undefined, { signal: closing.signal }).catch(() => {});
      if (closing.signal.aborted || !channels.has(channel.id) || channel.expiresAt <= now()) return;
      const status = await post(channel, state, number, closing.signal);
      channel.answers.push(status);
      if (!triedAgain.has(status)) return;
    }
  };

  // Changes close to each other share one message.
  const announce = (channel: Channel): void => {
    if (!settings.isOn || waiting.has(channel) || channel.expiresAt <= now()) return;
    waiting.add(channel);
    const message = sleep(settings.delayMs, undefined, { signal: closing.signal })
      .catch(() => {})
      .then(() => {
        waiting.delete(channel);
        if (!closing.signal.aborted) send(channel, "exists");
      })
      .finally(() => onTheirWay.delete(message));
    onTheirWay.add(message);
  };

  store.onChange.push((touched) => {
    for (const channel of channels.values()) {
      const isMeant =
        "calendar" in touched
          ? "calendar" in channel.watched && channel.watched.calendar === touched.calendar
          : "listOf" in channel.watched && channel.watched.listOf === touched.listOf;
      if (isMeant) announce(channel);
    }
  });

  return {
    settings,
    list: () => [...channels.values()].filter(({ expiresAt }) => expiresAt > now()),
    open: async (person, watched, body) => {
      const input = ChannelInput.parse(body);
      if ("calendar" in watched && watched.calendar.kind === "holiday") {
        throw new GoogleError(
          400,
          "pushNotSupportedForRequestedResource",
          "Push notifications are not supported by this resource.",
        );
      }
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
        : (input.expiration ?? now().getTime() + 7 * dayMs);
      const channel: Channel = {
        id: input.id,
        token: input.token ?? null,
        address: input.address,
        ...resourceOf(store, watched),
        owner: person,
        expiresAt: new Date(Math.min(asked, now().getTime() + longestMs)),
        messageNumber: 0,
        watched,
        answers: [],
      };
      channels.set(channel.id, channel);
      if (settings.isOn) send(channel, "sync");
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
    stop: (person, body) => {
      const { id, resourceId } = z
        .looseObject({ id: z.string(), resourceId: z.string() })
        .parse(body);
      const channel = channels.get(id);
      const isTheirs = channel?.resourceId === resourceId && channel.owner.sub === person?.sub;
      if (!channel || !isTheirs || channel.expiresAt <= now()) {
        throw new GoogleError(404, "notFound", `Channel '${id}' not found for project`);
      }
      channels.delete(id);
    },
    settled: async () => {
      while (onTheirWay.size > 0) await Promise.all(onTheirWay);
    },
    close: () => closing.abort(),
  };
}

const resourceIds = new WeakMap<object, string>();

// The same resource has the same id in every channel.
function resourceOf(store: Store, watched: Channel["watched"]) {
  const target = "calendar" in watched ? watched.calendar : watched.listOf;
  const resourceId = resourceIds.get(target) ?? randomBytes(20).toString("base64url");
  resourceIds.set(target, resourceId);
  const path =
    "calendar" in watched
      ? `calendars/${encodeURIComponent(watched.calendar.id)}/events`
      : "users/me/calendarList";
  return { resourceId, resourceUri: `${store.state.baseUrl()}/calendar/v3/${path}?alt=json` };
}

async function post(
  channel: Channel,
  state: string,
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
