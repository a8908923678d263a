import {
  createCipheriv,
  createDecipheriv,
  createHash,
  createHmac,
  randomBytes,
  timingSafeEqual,
} from "node:crypto";
import { inspect } from "node:util";

/** A text that opens something. However it is printed it is `***`; only `reveal` gives it. */
export type Secret = { reveal(): string };

/** Hides a text from logs, messages and debuggers. */
export function secretText(text: string): Secret {
  const stars = () => "***";
  return { reveal: () => text, ...{ toString: stars, toJSON: stars, [inspect.custom]: stars } };
}

/** An AES-256 key with the short id that every value sealed by it carries. */
export type SealingKey = { id: string; bytes(): Buffer };

/** The key that seals, and the keys that still open what was sealed before a rotation. */
export type Keyring = { current: SealingKey; previous: SealingKey[] };

/** Makes a key of any long secret text. The id is a digest, so the same text always has the same id. */
export function sealingKey(secret: string): SealingKey {
  const bytes = createHash("sha256").update("daybook sealing key\0").update(secret).digest();
  return { id: createHash("sha256").update(bytes).digest("hex").slice(0, 8), bytes: () => bytes };
}

/**
 * Encrypts `text` with AES-256-GCM. `boundTo` names the row and column that the value belongs to: moved
 * elsewhere it does not open. The form is `v1.<key id>.<nonce>.<ciphertext and tag>`.
 */
export function seal(keys: Keyring, text: string, boundTo: string): string {
  const { id, bytes } = keys.current;
  const nonce = randomBytes(12);
  const cipher = createCipheriv("aes-256-gcm", bytes(), nonce);
  cipher.setAAD(Buffer.from(boundTo));
  const sealed = Buffer.concat([cipher.update(text, "utf8"), cipher.final(), cipher.getAuthTag()]);
  return `v1.${id}.${nonce.toString("base64url")}.${sealed.toString("base64url")}`;
}

/** Opens what `seal` made. @throws when the key is unknown, the value was changed, or belongs elsewhere. */
export function unseal(keys: Keyring, value: string, boundTo: string): string {
  const [version, keyId, nonce, body] = value.split(".");
  if (version !== "v1" || !keyId || !nonce || !body) throw new Error("Not a sealed value");
  const key = keyOf(keys, value);
  if (!key) throw new Error(`No key ${keyId}: set ENCRYPTION_KEY_PREVIOUS to the one it replaced`);
  const sealed = Buffer.from(body, "base64url");
  const decipher = createDecipheriv("aes-256-gcm", key.bytes(), Buffer.from(nonce, "base64url"), {
    authTagLength: 16,
  });
  decipher.setAAD(Buffer.from(boundTo));
  decipher.setAuthTag(sealed.subarray(-16));
  return decipher.update(sealed.subarray(0, -16), undefined, "utf8") + decipher.final("utf8");
}

/** Whether the key is known that sealed a value. */
export function isKeyKnown(keys: Keyring, value: string): boolean {
  return keyOf(keys, value) !== undefined;
}

function keyOf(keys: Keyring, value: string): SealingKey | undefined {
  const [, keyId] = value.split(".");
  return [keys.current, ...keys.previous].find(({ id }) => id === keyId);
}

/** 256 random bits as text that is safe in URLs and headers. */
export function randomToken(): string {
  return randomBytes(32).toString("base64url");
}

/** What we keep of a token that somebody else presents later: its keyed digest. */
export function digest(secret: Secret, token: string): Buffer {
  return createHmac("sha256", secret.reveal()).update(token).digest();
}

/** Compares in constant time, whatever the lengths. */
export function sameSecret(given: string, expected: string): boolean {
  const hash = (text: string) => createHash("sha256").update(text).digest();
  return timingSafeEqual(hash(given), hash(expected));
}
