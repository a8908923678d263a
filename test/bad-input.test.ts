import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { after, before, describe, test } from "node:test";
import { sql } from "kysely";
import { openSession } from "../src/accounts/sessions.ts";
import { openTestApp, type TestApp, type Visitor } from "./harness.ts";

// Every case is made from the served OpenAPI document, so that a new route is held to the same from its first day.

type Schema = {
  type?: string | string[];
  format?: string;
  enum?: unknown[];
  minLength?: number;
  properties?: Record<string, Schema>;
  required?: string[];
  items?: Schema;
  additionalProperties?: unknown;
};
type Parameter = { in: string; name: string; required?: boolean; schema: Schema };
type Operation = {
  method: string;
  path: string;
  tags: string[];
  security: Record<string, unknown>[];
  parameters?: Parameter[];
  requestBody?: { required: boolean; content: Record<string, { schema: Schema }> };
  responses: Record<string, unknown>;
};

/** One request that must be refused, with the status where only one is right. */
type Case = {
  wrong: string;
  path?: Record<string, string>;
  query?: [string, string][];
  body?: unknown;
  raw?: { type: string; text: string | Buffer };
  headers?: Record<string, string>;
  status?: number;
};

describe("bad input", () => {
  let t: TestApp;
  let ana: Visitor;
  let tokens: { good: string; expired: string; revoked: string };
  let foreign: { userId: string; connectionId: string };

  before(async () => {
    t = await openTestApp({ workers: false });
    ana = await t.signIn("ana@example.com");
    const priya = await t.signIn("priya@example.com");
    const { body } = await priya.call("GET", "/api/v1/me");
    foreign = { userId: priya.userId, connectionId: body.connections[0].id };
    const [good, expired, revoked] = await Promise.all(
      [1, 2, 3].map(() => openSession(t.app, ana.userId)),
    );
    const change = (id: string, values: { expires_at: Date } | { revoked_at: Date }) =>
      t.app.db.updateTable("sessions").set(values).where("id", "=", id).execute();
    await change(expired!.id, { expires_at: new Date(t.clock.now().getTime() - 1_000) });
    await change(revoked!.id, { revoked_at: t.clock.now() });
    tokens = { good: good!.token, expired: expired!.token, revoked: revoked!.token };
  });
  after(() => t[Symbol.asyncDispose]());

  test("every route refuses it with a problem document, and no row changes", {
    timeout: 300_000,
  }, async (context) => {
    const operations = await describedOperations(t);
    assert.ok(operations.length > 20, "the description names the routes");
    let before = await digestOfRows(t);
    for (const operation of operations) {
      await context.test(`${operation.method} ${operation.path} refuses it`, async () => {
        const accepted: string[] = [];
        for (const one of casesOf(operation)) {
          const answer = await send(operation, one);
          const complaint = complaintAbout(answer, operation, one);
          if (complaint) accepted.push(`${one.wrong}: ${complaint}`);
        }
        assert.deepEqual(accepted, []);
        const [expected, rows] = [before, await digestOfRows(t)];
        before = rows;
        assert.deepEqual(rows, expected, "a row changed");
      });
    }
  });

  function casesOf(operation: Operation): Case[] {
    const isPublic = operation.security.length === 0;
    return [
      ...queryCases(operation),
      ...pathCases(operation),
      ...(operation.method === "GET" ? [] : bodyCases(operation)),
      ...foreignIdCases(operation),
      ...(isPublic ? [] : callerCases(operation)),
    ];
  }

  function foreignIdCases({ parameters = [], ...operation }: Operation): Case[] {
    if (!isForUsers(operation)) return [];
    const idOf = (name: string) => (name === "user_id" ? foreign.userId : foreign.connectionId);
    const isId = ([name, schema]: [string, Schema]) =>
      schema.format === "uuid" && /^id$|_id$/.test(name);
    const inPlace = (place: string) =>
      parameters.filter((one) => one.in === place && isId([one.name, one.schema]));
    // Where an id counts for some choices only (`purpose=connect`), the last one is taken for such.
    const choices = parameters
      .filter(({ schema }) => schema.enum)
      .map(({ name, schema }): [string, string] => [name, String(schema.enum?.at(-1))]);
    const wrong = (name: string) => `somebody else's ${name}`;
    return [
      ...inPlace("path").map(({ name }) => ({
        wrong: wrong(name),
        path: { [name]: idOf(name) },
      })),
      ...inPlace("query").map(({ name }) => ({
        wrong: wrong(name),
        query: [...choices, [name, idOf(name)]] as [string, string][],
      })),
      ...Object.entries(bodySchemaOf(operation)?.properties ?? {})
        .filter(isId)
        .map(([name]) => ({
          wrong: wrong(name),
          body: { ...Object(sampleBody(operation)), [name]: idOf(name) },
        })),
    ];
  }

  function callerCases(operation: Operation): Case[] {
    const bearer = (token: string) => ({ authorization: `Bearer ${token}` });
    const cookie = { authorization: "", cookie: ana.cookie };
    const body = sampleBody(operation);
    const nobody = [
      { wrong: "no session", headers: { authorization: "" } },
      { wrong: "an expired session", headers: bearer(tokens.expired) },
      { wrong: "a revoked session", headers: bearer(tokens.revoked) },
      { wrong: "a garbled bearer", headers: bearer("gar.bled.token") },
      { wrong: "a bearer of another kind", headers: { authorization: "Basic Z2FyYmxlZA==" } },
    ].map((one) => ({ ...one, body, status: 401 }));
    if (!isForUsers(operation))
      return [...nobody, { wrong: "a person", headers: bearer(tokens.good), body, status: 403 }];
    if (operation.method === "GET") return nobody;
    const page = { ...cookie, origin: "https://elsewhere.example.net" };
    return [
      ...nobody,
      { wrong: "a page of somebody else", headers: page, body, status: 403 },
      { wrong: "a cookie from nowhere", headers: cookie, body, status: 403 },
    ];
  }

  async function send({ method, path, ...operation }: Operation, one: Case) {
    const filled = path.replace(/\{([^}]+)\}/g, (_, name: string) => {
      const { schema } = operation.parameters?.find((parameter) => parameter.name === name) ?? {};
      return encodeURIComponent(one.path?.[name] ?? String(sample(schema ?? {})));
    });
    const required = (operation.parameters ?? [])
      .filter(({ in: place, required }) => place === "query" && required)
      .map(({ name, schema }): [string, string] => [name, String(sample(schema))]);
    const query = new URLSearchParams(one.query ?? required);
    const token = isForUsers(operation) ? tokens.good : t.app.config.serviceKey.reveal();
    const text = one.raw?.text ?? (one.body === undefined ? undefined : JSON.stringify(one.body));
    const type = one.raw?.type ?? "application/json";
    return fetch(`${t.url}${filled}${query.size > 0 ? `?${query}` : ""}`, {
      method,
      redirect: "manual",
      headers: {
        authorization: `Bearer ${token}`,
        ...(text === undefined ? {} : { "content-type": type }),
        ...one.headers,
      },
      ...(text === undefined ? {} : { body: text }),
    }).then(async (answer) => ({ answer, text: await answer.text() }));
  }
});

function queryCases({ parameters = [], ...operation }: Operation): Case[] {
  const named = parameters.filter((parameter) => parameter.in === "query");
  const required = named
    .filter((parameter) => parameter.required)
    .map(({ name, schema }): [string, string] => [name, String(sample(schema))]);
  const without = (name: string) => required.filter(([other]) => other !== name);
  const typed = named.filter(({ schema }) => schema.format || schema.enum || !isText(schema));
  const repeated = named.filter(({ schema }) => !hasType(schema, "array"));
  const body = sampleBody(operation);
  return [
    ...typed.map(({ name }) => ({
      wrong: `${name} of another type`,
      query: [...without(name), [name, "~"]] as [string, string][],
      body,
    })),
    ...repeated.map(({ name }) => ({
      wrong: `${name} twice`,
      query: [...without(name), [name, "~"], [name, "~"]] as [string, string][],
      body,
    })),
    ...named.map(({ name }) => ({
      wrong: `${name} with a NUL`,
      query: [...without(name), [name, "\0"]] as [string, string][],
      body,
    })),
    ...required.map(([name]) => ({ wrong: `no ${name}`, query: without(name), body })),
    ...(named.some(({ name }) => name === "cursor") ? madeUpCursors(operation) : []).map(
      (cursor) => ({
        wrong: `a cursor of ${JSON.stringify(cursor)}`,
        query: [...required, ["cursor", cursorOf(cursor)]] as [string, string][],
        body,
      }),
    ),
    ...(isOldAddress(operation)
      ? []
      : [
          {
            wrong: "an unknown query",
            query: [...required, ["unheard_of", "1"]] as [string, string][],
            body,
          },
        ]),
  ];
}

// Keys of the form that the lists sort by, which PostgreSQL takes no value from. A project's key is its name, which may
// be any other text.
function madeUpCursors({ path }: Pick<Operation, "path">): string[][] {
  const texts = path.endsWith("/projects")
    ? ["\0"]
    : ["\0", "2026-13-99 99:99:99", "2026-02-30T00:00:00Z", "0000-01-01T00:00:00Z"];
  const id = "8a4f0fd5-8a4c-4c2b-9d5a-0b9f0f6f4a11";
  return [...texts.map((text) => [text, id]), ["2026-01-01T00:00:00Z", "\0"]];
}

const cursorOf = (key: unknown) => Buffer.from(JSON.stringify(key)).toString("base64url");

function pathCases({ parameters = [], ...operation }: Operation): Case[] {
  const body = sampleBody(operation);
  return parameters
    .filter((parameter) => parameter.in === "path")
    .flatMap(({ name }) =>
      ["~", "constructor", "x".repeat(280), "\0"].map((value) => ({
        wrong: `${name} as ${JSON.stringify(value.slice(0, 12))}`,
        path: { [name]: value },
        body,
      })),
    );
}

function bodyCases(operation: Operation): Case[] {
  const schema = bodySchemaOf(operation);
  const { properties = {}, required = [] } = schema ?? {};
  const body = sampleBody(operation);
  const fields = Object(body ?? {});
  const isOpen = schema ? schema.additionalProperties !== false : isOldAddress(operation);
  const tooLarge = { wrong: "2 MB", raw: json(JSON.stringify({ text: "x".repeat(2_000_000) })) };
  // An old address that takes no body does not look at what is sent.
  if (isOldAddress(operation) && !operation.requestBody) return [{ ...tooLarge, status: 413 }];
  // The others read JSON whatever it is called.
  const mislabelled = isOldAddress(operation) ? 400 : 415;
  return [
    ...Object.entries(properties).map(([name, field]) => ({
      wrong: `${name} of another type`,
      body: { ...fields, [name]: unlike(field) },
    })),
    ...required.map((name) => {
      const { [name]: _, ...rest } = fields;
      return { wrong: `no ${name}`, body: rest };
    }),
    ...(operation.requestBody?.required ? [{ wrong: "no body" }] : []),
    ...(isOpen ? [] : [{ wrong: "an unknown field", body: { ...fields, unheard_of: 1 } }]),
    ...(isOpen ? [] : [{ wrong: "a list", body: [1] }]),
    ...(isOpen ? [] : [{ wrong: "a poisoned name", raw: json('{"__proto__":{"a":1}}') }]),
    { ...tooLarge, status: 413 },
    { wrong: "broken JSON", raw: json('{"text":'), status: 400 },
    { wrong: "a NUL", raw: json('{"text":"\\u0000"}'), status: 400 },
    { wrong: "half a character", raw: json('{"text":"\\ud83d"}'), status: 400 },
    { wrong: "no UTF-8", raw: json(Buffer.from('{"text":"\xe9"}', "latin1")), status: 400 },
    { wrong: "plain text", raw: { type: "text/plain", text: "hello" }, status: mislabelled },
    {
      wrong: "a form",
      raw: { type: "application/x-www-form-urlencoded", text: "a=b" },
      status: mislabelled,
    },
  ];
}

const json = (text: string | Buffer) => ({ type: "application/json", text });

function complaintAbout(
  { answer, text }: { answer: Response; text: string },
  operation: Operation,
  { status }: Case,
): string | null {
  const seen = `${answer.status} ${text.slice(0, 200)}`;
  const location = answer.headers.get("location");
  // A browser is sent to a page that says what went wrong.
  if (answer.status === 302 && "302" in operation.responses)
    return location?.includes("sign_in_error=") ? null : `redirected to ${location}`;
  if (answer.status < 400 || answer.status > 499) return `answered ${seen}`;
  if (status !== undefined && answer.status !== status) return `answered ${seen}, not ${status}`;
  const isProblem = answer.headers.get("content-type") === "application/problem+json";
  const body = JSON.parse(text);
  if (!isProblem && isOldAddress(operation)) return "error" in body ? null : `answered ${seen}`;
  const isWhole =
    isProblem &&
    body.status === answer.status &&
    body.request_id === answer.headers.get("x-request-id") &&
    [body.type, body.title, body.detail].every((part) => typeof part === "string" && part !== "");
  return isWhole ? null : `no problem document: ${seen}`;
}

async function describedOperations(t: TestApp): Promise<Operation[]> {
  const answer = await fetch(`${t.url}/openapi.json`);
  const { paths } = (await answer.json()) as {
    paths: Record<string, Record<string, Omit<Operation, "method" | "path">>>;
  };
  return Object.entries(paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => ({
      ...operation,
      method: method.toUpperCase(),
      path,
    })),
  );
}

// The old addresses take what they always took.
function isOldAddress({ tags }: Pick<Operation, "tags">): boolean {
  return tags.includes("gateway");
}

function isForUsers({ security }: Pick<Operation, "security">): boolean {
  return security.length === 0 || security.some((way) => "session" in way);
}

function bodySchemaOf({ requestBody }: Pick<Operation, "requestBody">): Schema | null {
  return requestBody?.content["application/json"]?.schema ?? null;
}

function sampleBody(operation: Pick<Operation, "requestBody">): unknown {
  const schema = bodySchemaOf(operation);
  return schema ? sample(schema) : undefined;
}

/** A value that a schema allows, as small as can be. */
function sample(schema: Schema): unknown {
  if (schema.enum) return schema.enum[0];
  if (schema.format === "uuid") return randomUUID();
  if (schema.format === "date-time") return new Date(0).toISOString();
  if (schema.format === "uri") return "https://example.com/";
  if (schema.format === "email") return "someone@example.com";
  if (hasType(schema, "object") || schema.properties) {
    const { properties = {}, required = [] } = schema;
    return Object.fromEntries(required.map((name) => [name, sample(properties[name] ?? {})]));
  }
  if (hasType(schema, "array")) return [sample(schema.items ?? {})];
  if (hasType(schema, "integer") || hasType(schema, "number")) return 1;
  if (hasType(schema, "boolean")) return true;
  return "x".repeat(Math.max(1, schema.minLength ?? 1));
}

/** A value of a type that a schema does not allow. */
function unlike(schema: Schema): unknown {
  const { string, ...others } = { string: "~", object: { a: 1 }, array: [[1]], number: 1.5 };
  const other = Object.entries(others).find(([type]) => !hasType(schema, type))?.[1];
  return isText(schema) && !schema.format ? other : string;
}

function isText(schema: Schema): boolean {
  return hasType(schema, "string") || schema.type === undefined;
}

function hasType({ type }: Schema, name: string): boolean {
  return [type].flat().includes(name);
}

/** Every table with its number of rows and a digest of them; what a session's use leaves behind is left out. */
async function digestOfRows(t: TestApp): Promise<Record<string, string>> {
  const { rows: tables } = await sql<{ schema: string; name: string }>`
    select table_schema as schema, table_name as name from information_schema.tables
    where table_type = 'BASE TABLE' and (table_schema = 'public' or (table_schema, table_name) = ('pgboss', 'job_common'))
    order by 1, 2`.execute(t.app.db);
  const digests = tables.map(
    ({ schema, name }) => sql<{ name: string; digest: string }>`
      select ${name} as name, count(*) || ' ' || coalesce(md5(string_agg(line, '|' order by line)), '') as digest
      from (select (to_jsonb(t) - 'last_used_at')::text as line from ${sql.table(`${schema}.${name}`)} as t) as lines`,
  );
  const { rows } = await sql<{ name: string; digest: string }>`
    ${sql.join(digests, sql` union all `)}`.execute(t.app.db);
  return Object.fromEntries(rows.map(({ name, digest }) => [name, digest]));
}
