import { generateKeyPair, type KeyObject, randomBytes } from "node:crypto";
import { promisify } from "node:util";
import { exportJWK, type JWK, type JWTPayload, SignJWT } from "jose";
import { selfSigned } from "./certificate.ts";
import { hours } from "./clock.ts";
import type { State } from "./state.ts";

export type KeyPair = { publicKey: KeyObject; privateKey: KeyObject };

/** A key that signs ID tokens, or did until a moment ago. */
export type SigningKey = KeyPair & {
  kid: string;
  /** When it signed for the last time; null for the one that signs now. */
  retiredAt: Date | null;
};

// Longer than any ID token lives, so that each can be verified to its end.
const publishedAfterwardsMs = 24 * hours;

/** Takes a tenth of a second. */
export function makeKeyPair(): Promise<KeyPair> {
  return promisify(generateKeyPair)("rsa", { modulusLength: 2048 });
}

export function signingKeyOf({ publicKey, privateKey }: KeyPair): SigningKey {
  return { kid: randomBytes(20).toString("hex"), publicKey, privateKey, retiredAt: null };
}

/** Signs with a new key from now on. The old ones stay published for a day, or are gone at once with `forget`. */
export async function rotateKeys(
  state: State,
  options: { forget?: boolean } = {},
): Promise<string> {
  const key = signingKeyOf(await makeKeyPair());
  const retiredAt = state.clock.now();
  const old = options.forget ? [] : publishedKeys(state);
  state.keys = [key, ...old.map((one) => ({ ...one, retiredAt: one.retiredAt ?? retiredAt }))];
  return key.kid;
}

/** The keys that a verifier may meet, the signing one first. */
export function publishedKeys(state: State): SigningKey[] {
  const since = state.clock.now().getTime() - publishedAfterwardsMs;
  return state.keys.filter(({ retiredAt }) => retiredAt === null || retiredAt.getTime() > since);
}

/** What `/oauth2/v3/certs` answers. */
export async function jwksOf(state: State): Promise<{ keys: JWK[] }> {
  const keys = publishedKeys(state).map(async ({ kid, publicKey }) => {
    return { kid, alg: "RS256", use: "sig", ...(await exportJWK(publicKey)) };
  });
  return { keys: await Promise.all(keys) };
}

/** What `/oauth2/v1/certs` answers: the same keys as certificates. */
export function certificatesOf(state: State): Record<string, string> {
  return Object.fromEntries(
    publishedKeys(state).map((key) => [key.kid, selfSigned(key, "sandbox.example.com")]),
  );
}

/** Signs a token of one hour, by the sandbox's clock. */
export async function signIdToken(state: State, claims: JWTPayload): Promise<string> {
  const key = state.keys.find(({ retiredAt }) => retiredAt === null);
  if (!key) throw new Error("The sandbox has no signing key");
  const issuedAt = Math.floor(state.clock.now().getTime() / 1000);
  return new SignJWT({ iss: state.issuer(), ...claims, iat: issuedAt, exp: issuedAt + 3600 })
    .setProtectedHeader({ alg: "RS256", kid: key.kid, typ: "JWT" })
    .sign(key.privateKey);
}
