import { createHmac, randomBytes } from "node:crypto";
import type { FastifyInstance } from "fastify";
import type { Clock } from "../../src/lib/clock.ts";
import { sameSecret } from "../../src/lib/secrets.ts";
import type { SandboxBot } from "./bot.ts";
import type { Bots } from "./bots.ts";

const validMs = 30 * 60_000;
// A tone for each voice needs no more; nor does an ear to tell them apart.
const samplesPerSecond = 4_000;
const longestSeconds = 600;
const silence = 128;

export type Recordings = { link(bot: SandboxBot, now: Date): string };

/**
 * Keeps recordings as a storage bucket does: whoever has the link hears it, for 30 minutes. They are made when they are
 * asked for: one pitch for each speaker, in time with the transcript.
 */
export function openRecordings(
  server: FastifyInstance,
  { engine, clock, site }: { engine: Bots; clock: Clock; site: () => string },
): Recordings {
  const secret = randomBytes(32);
  const signatureOf = (name: string, expires: string) =>
    createHmac("sha256", secret).update(`${name}:${expires}`).digest("base64url");

  server.get("/recordings/:name", (request, reply) => {
    const { name } = request.params as { name: string };
    const { expires = "", signature = "" } = request.query as Record<string, string>;
    const denied = (message: string) =>
      reply
        .code(403)
        .type("application/xml")
        .send(`<Error><Code>AccessDenied</Code><Message>${message}</Message></Error>`);
    if (!sameSecret(signature, signatureOf(name, expires))) return denied("Access Denied");
    if (Number(expires) * 1000 <= clock.now().getTime()) return denied("Request has expired");
    const bot = engine.bots.get(name.replace(/\.wav$/, ""));
    if (!bot?.recordingUploadedAt) return denied("Access Denied");
    return reply.type("audio/wav").send(soundOf(bot));
  });

  return {
    link: (bot, now) => {
      const name = `${bot.id}.wav`;
      const expires = String(Math.floor((now.getTime() + validMs) / 1000));
      return `${site()}/recordings/${name}?expires=${expires}&signature=${signatureOf(name, expires)}`;
    },
  };
}

function soundOf({ utterances, recordingStartedAt }: SandboxBot): Buffer {
  const startMs = recordingStartedAt?.getTime() ?? 0;
  const speakers = [...new Set(utterances.map(({ speaker_uuid }) => speaker_uuid))];
  const ends = utterances.map((one) => one.timestamp_ms - startMs + one.duration_ms);
  const seconds = Math.min(longestSeconds, Math.max(1, ...ends.map((ms) => ms / 1000 + 0.5)));
  const samples = Buffer.alloc(Math.ceil(seconds * samplesPerSecond), silence);
  for (const { speaker_uuid, timestamp_ms, duration_ms } of utterances) {
    const pitch = 220 * 2 ** (speakers.indexOf(speaker_uuid) / 3);
    const begin = Math.floor(((timestamp_ms - startMs) / 1000) * samplesPerSecond);
    const length = Math.floor((duration_ms / 1000) * samplesPerSecond);
    for (let at = 0; at < length && begin + at < samples.length; at += 1) {
      // It swells and fades, so that it does not click.
      const loudness = 10 * Math.min(1, at / 80, (length - at) / 80);
      const wave = Math.sin((2 * Math.PI * pitch * at) / samplesPerSecond);
      const sample = (samples[begin + at] ?? silence) + Math.round(loudness * wave);
      samples[begin + at] = Math.min(255, Math.max(0, sample));
    }
  }
  return Buffer.concat([waveHeader(samples.length), samples]);
}

// Source: Microsoft, "Multimedia Programming Interface and Data Specifications 1.0", WAVE: one channel of 8 bits.
function waveHeader(size: number): Buffer {
  const header = Buffer.alloc(44);
  header.write("RIFF", 0);
  header.writeUInt32LE(36 + size, 4);
  header.write("WAVEfmt ", 8);
  header.writeUInt32LE(16, 16);
  header.writeUInt16LE(1, 20);
  header.writeUInt16LE(1, 22);
  header.writeUInt32LE(samplesPerSecond, 24);
  header.writeUInt32LE(samplesPerSecond, 28);
  header.writeUInt16LE(1, 32);
  header.writeUInt16LE(8, 34);
  header.write("data", 36);
  header.writeUInt32LE(size, 40);
  return header;
}
