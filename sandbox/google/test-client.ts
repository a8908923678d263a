import {
  CodeChallengeMethod,
  type Credentials,
  type GenerateAuthUrlOpts,
  OAuth2Client,
} from "google-auth-library";
import { z } from "zod";
import { type Browser, type Choices, openBrowser } from "./browser.ts";
import type { SandboxGoogle } from "./server.ts";

export const redirectUri = "https://app.example.test/callback";

export const scope = {
  email: "https://www.googleapis.com/auth/userinfo.email",
  profile: "https://www.googleapis.com/auth/userinfo.profile",
  calendar: "https://www.googleapis.com/auth/calendar.readonly",
  drive: "https://www.googleapis.com/auth/drive.readonly",
  gmail: "https://www.googleapis.com/auth/gmail.readonly",
};

export const allScopes = ["openid", "email", "profile", scope.calendar, scope.drive, scope.gmail];

/** Google's own client library, pointed at a sandbox. */
export function clientOf(google: SandboxGoogle): OAuth2Client {
  const { url } = google;
  return new OAuth2Client({
    clientId: google.client.id,
    clientSecret: google.client.secret,
    redirectUri,
    issuers: [url],
    endpoints: {
      oauth2AuthBaseUrl: `${url}/o/oauth2/v2/auth`,
      oauth2TokenUrl: `${url}/token`,
      oauth2RevokeUrl: `${url}/revoke`,
      tokenInfoUrl: `${url}/tokeninfo`,
      oauth2FederatedSignonPemCertsUrl: `${url}/oauth2/v1/certs`,
      oauth2FederatedSignonJwkCertsUrl: `${url}/oauth2/v3/certs`,
    },
    transporterOptions: { retryConfig: { retry: 0, noResponseRetries: 0 } },
  });
}

/** A consent with PKCE up to the code that comes back. */
export async function getCode(
  google: SandboxGoogle,
  choices: Choices,
  asked: GenerateAuthUrlOpts = {},
  browser: Browser = openBrowser(),
): Promise<{ code: string; codeVerifier: string; answer: URLSearchParams }> {
  const client = clientOf(google);
  const { codeVerifier, codeChallenge } = await client.generateCodeVerifierAsync();
  const url = client.generateAuthUrl({
    scope: allScopes,
    access_type: "offline",
    state: "a state with spaces & signs",
    code_challenge_method: CodeChallengeMethod.S256,
    ...(codeChallenge ? { code_challenge: codeChallenge } : {}),
    ...asked,
  });
  const answer = (await browser.consent(url, choices)).searchParams;
  return { code: answer.get("code") ?? "", codeVerifier, answer };
}

/** A whole sign-in. */
export async function signIn(
  google: SandboxGoogle,
  choices: Choices = { person: "ana@example.com" },
  asked: GenerateAuthUrlOpts = {},
  browser: Browser = openBrowser(),
): Promise<Credentials> {
  const { code, codeVerifier } = await getCode(google, choices, asked, browser);
  return (await clientOf(google).getToken({ code, codeVerifier })).tokens;
}

const Body = z.looseObject({
  error: z.string().optional(),
  error_description: z.string().optional(),
  access_token: z.string().optional(),
  refresh_token: z.string().optional(),
  id_token: z.string().default(""),
  scope: z.string().default(""),
  expires_in: z.number().optional(),
});

/** Posts a form and reads the JSON that comes back. */
export async function post(url: string, form: Record<string, string>) {
  const answer = await fetch(url, { method: "POST", body: new URLSearchParams(form) });
  return { status: answer.status, headers: answer.headers, body: Body.parse(await answer.json()) };
}

/** Refreshes by a plain request, so that every kind of answer can be looked at. */
export function refresh(google: SandboxGoogle, refreshToken: string | null | undefined) {
  return post(`${google.url}/token`, {
    grant_type: "refresh_token",
    refresh_token: refreshToken ?? "",
    client_id: google.client.id,
    client_secret: google.client.secret,
  });
}
