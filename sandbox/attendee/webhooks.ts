import { createHmac, randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { canonical, dumps } from "./python-json.ts";

export type Webhook = { url: string; triggers: string[] };

/** How deliveries go wrong. */
export type WebhookSettings = {
  /** The next so many are lost. */
  loseNext: number;
  /** How often each arrives. */
  times: number;
  /** The longest that one is under way, in real milliseconds: later ones overtake it. */
  mostDelayMs: number;
  /** The first wait between attempts, in real milliseconds; three are made in all. */
  retryMs: number;
};

export const usualWebhooks: WebhookSettings = {
  loseNext: 0,
  times: 1,
  mostDelayMs: 20,
  retryMs: 1_000,
};

/** One attempt at a delivery, with what came of it; 0 stands for no answer. */
export type Delivered = { url: string; trigger: string; key: string; body: string; status: number };

/** Signs and sends. Nothing is in order, and what three attempts do not bring is lost. */
export function openWebhooks(settings: WebhookSettings, secret: Buffer) {
  const delivered: Delivered[] = [];
  const underWay = new Set<Promise<void>>();

  const attempt = async (url: string, trigger: string, key: string, payload: unknown) => {
    const body = dumps(payload);
    const signature = createHmac("sha256", secret).update(canonical(payload)).digest("base64");
    for (let count = 0; count < 3; count += 1) {
      if (count > 0) {
        const pause = settings.retryMs * 2 ** (count - 1) * (1 + Math.random() / 4);
        await sleep(pause, undefined, { ref: false });
      }
      const status = await fetch(url, {
        method: "POST",
        redirect: "manual",
        headers: {
          "content-type": "application/json",
          "user-agent": "Attendee-Webhook/1.0",
          "x-webhook-signature": signature,
        },
        body,
        signal: AbortSignal.timeout(10_000),
      }).then(
        async (answer) => {
          await answer.arrayBuffer();
          return answer.status;
        },
        () => 0,
      );
      delivered.push({ url, trigger, key, body, status });
      if (status >= 200 && status < 300) return;
    }
  };

  const send = (webhook: Webhook, trigger: string, payload: Map<string, unknown>) => {
    if (settings.loseNext > 0) {
      settings.loseNext -= 1;
      return;
    }
    const key = randomUUID();
    const whole = new Map<string, unknown>([["idempotency_key", key], ...payload]);
    for (let copy = 0; copy < settings.times; copy += 1) {
      const sending = sleep(Math.random() * settings.mostDelayMs)
        .then(() => attempt(webhook.url, trigger, key, whole))
        .finally(() => underWay.delete(sending));
      underWay.add(sending);
    }
  };
  return {
    delivered,
    send,
    settled: async () => {
      while (underWay.size > 0) await Promise.all(underWay);
    },
  };
}
