import swagger, { type SwaggerTransformObject } from "@fastify/swagger";
import swaggerUi from "@fastify/swagger-ui";
import type { FastifyInstance } from "fastify";
import {
  createJsonSchemaTransform,
  createJsonSchemaTransformObject,
} from "fastify-type-provider-zod";
import { z } from "zod";
import packageJson from "../../package.json" with { type: "json" };
import { glossary } from "./glossary.ts";
import { Problem } from "./problems.ts";
import type { Audience } from "./session.ts";

const security: Record<Audience, Record<string, string[]>[]> = {
  public: [],
  user: [{ session: [] }, { bearer: [] }],
  service: [{ bearer: [] }],
  user_or_service: [{ session: [] }, { bearer: [] }],
};

const tags = [
  { name: "auth", description: "Signing in with Google, sessions, connected Google accounts" },
  { name: "me", description: "The signed-in person: profile, all of their data, the way out" },
  { name: "calendar", description: "Calendars, their events, and the meetings among them" },
  { name: "mail", description: "The assistant's address, who may use it, and the mails that did" },
  { name: "drive", description: "Files of Google Drive that are followed, and their way here" },
  {
    name: "documents",
    description: "What became of mails and files, and their way to the workflow",
  },
  { name: "bots", description: "Bots in meetings: sent, steered, followed, and what they heard" },
  { name: "projects", description: "What documents belong to" },
  {
    name: "sync",
    description: "What is followed, how current it is, and why it is looked at when",
  },
  { name: "webhooks", description: "Where providers tell us that something changed" },
  { name: "operations", description: "For operators: health, metrics, schedules, given-up jobs" },
  { name: "gateway", description: "The addresses of the former functions, in their old shapes" },
];

/** Describes every route from its schemas: OpenAPI 3.1 at `/openapi.json`, and to browse at `/docs`. */
export async function describeApi(server: FastifyInstance): Promise<void> {
  const optionalBodies = new Set<string>();
  // What every route says goes for its description too: who may call it, how it fails, whether it may be repeated.
  server.addHook("onRoute", ({ method, url, config, schema }) => {
    if (!config?.who || !schema) return;
    schema.operationId ??= operationIdOf(String(method), url);
    schema.security = security[config.who];
    const told: Record<string, unknown> = Object(schema.response);
    const refusals = "4xx" in told ? {} : refusalsOf({ who: config.who, ...schema });
    schema.response = { ...refusals, "5xx": failed, ...told };
    if (config.idempotent) schema.headers ??= RepeatableHeaders;
    const isOptional = schema.body instanceof z.ZodType && schema.body.safeParse(undefined).success;
    if (isOptional) optionalBodies.add(schema.operationId);
  });
  await server.register(swagger, {
    openapi: {
      openapi: "3.1.0",
      info: {
        title: "Daybook",
        version: packageJson.version,
        description: "A person's working day, kept current in your own Postgres.",
        license: { name: "Apache-2.0", identifier: "Apache-2.0" },
      },
      tags,
      components: {
        securitySchemes: {
          session: {
            type: "apiKey",
            in: "cookie",
            name: "daybook_session",
            description: "Set by signing in; `__Host-daybook_session` where PUBLIC_URL is https",
          },
          bearer: {
            type: "http",
            scheme: "bearer",
            description: "A session token, a Supabase user token, or the service key",
          },
        },
      },
    },
    transform: createJsonSchemaTransform({ zodToJsonConfig }),
    transformObject: (document) =>
      tidied(createJsonSchemaTransformObject({ zodToJsonConfig })(document), optionalBodies),
  });
  await server.register(swaggerUi, {
    routePrefix: "/docs",
    staticCSP: true,
    // Where people come by http, from another machine, no file of the page could be fetched.
    transformStaticCSP: (policy) => policy.replace("upgrade-insecure-requests;", ""),
  });
}

const problemOf = (description: string) => ({
  description,
  content: { "application/problem+json": { schema: Problem } },
});
const refused = problemOf("Refused: `detail` says why, `errors` for which fields");
const unknown = problemOf("Nobody is signed in, or the token is not, or no longer, good");
const forbidden = problemOf("Not for this caller");
const absent = problemOf("There is none, or it is somebody else's");
const unreadable = problemOf("The body is not JSON");
const invalid = problemOf("What was sent cannot be taken: `errors` says which fields, and why");
const failed = problemOf("Failed here or at a provider: trying again later may help");
const tooMany = problemOf("Too many calls: `Retry-After` says when to try again, in seconds");

// Which refusals a route knows follows from who may call it, and from what it takes.
function refusalsOf(route: {
  who: Audience;
  params?: unknown;
  querystring?: unknown;
  body?: unknown;
}): Record<string, unknown> {
  return {
    ...(route.who === "public" ? {} : { 401: unknown, 403: forbidden }),
    ...(route.params ? { 404: absent } : {}),
    ...(route.body ? { 415: unreadable } : {}),
    ...(route.params || route.querystring || route.body ? { 422: invalid } : {}),
    429: tooMany,
    "4xx": refused,
  };
}

const RepeatableHeaders = z.looseObject({
  "idempotency-key": z
    .string()
    .optional()
    .describe(
      "1 to 200 visible characters: a repeat with the same key and body gets the same answer for 24 hours",
    ),
});

// `post /api/v1/cron/:name` is `postCronByName`: the name that generated clients call it by.
function operationIdOf(method: string, url: string): string {
  const words = url.replace(/^\/api\/v1/, "").replaceAll(":", "by-");
  const name = words.replace(/[^a-z0-9]+([a-z0-9]?)/gi, (_, sign: string) => sign.toUpperCase());
  return method.toLowerCase() + name;
}

// What zod adds for its own use would only be noise: the bounds of safe integers, the patterns behind formats.
const zodToJsonConfig: NonNullable<
  Parameters<typeof createJsonSchemaTransform>[0]["zodToJsonConfig"]
> = {
  override: ({ jsonSchema }) => {
    if (jsonSchema.minimum === Number.MIN_SAFE_INTEGER) delete jsonSchema.minimum;
    if (jsonSchema.maximum === Number.MAX_SAFE_INTEGER) delete jsonSchema.maximum;
    if (jsonSchema.format !== undefined) delete jsonSchema.pattern;
  },
};

type Description = ReturnType<SwaggerTransformObject>;

const bodiless: Record<string, string> = { 204: "Done", 302: "Go there" };

// What the generators cannot say: that a body may be left out, or is none; what a plain answer is. What answers at two
// addresses is told once.
function tidied(description: Description, optionalBodies: Set<string>): Description {
  if (!("openapi" in description)) return description;
  const { paths = {}, components = {} } = description;
  for (const path of Object.keys(paths)) {
    if (`/api/v1${path}` in paths) delete paths[path];
  }
  for (const operation of Object.values(paths).flatMap((methods) => Object.values(methods ?? {}))) {
    if (typeof operation !== "object" || !("responses" in operation)) continue;
    const { operationId = "", requestBody, responses = {} } = operation;
    const body = requestBody && "content" in requestBody ? requestBody : null;
    if (JSON.stringify(body?.content) === emptyBody) delete operation.requestBody;
    else if (body) body.required = !optionalBodies.has(operationId);
    if (!Object.keys(responses).some((status) => /^[23]/.test(status)))
      responses["200"] = { description: "The answer" };
    for (const [status, response] of Object.entries(responses)) {
      if ("description" in response && response.description === "Default Response")
        response.description = bodiless[status] ?? "The answer";
      if ("content" in response && status in bodiless) delete response.content;
    }
  }
  const text = JSON.stringify(paths);
  for (const name of Object.keys(components.schemas ?? {})) {
    if (!text.includes(`"#/components/schemas/${name}"`)) delete components.schemas?.[name];
  }
  explain(paths);
  explain(components.schemas);
  return description;
}

// A property that does not say itself what it is, is what the glossary says.
function explain(part: unknown): void {
  if (!isObject(part)) return;
  for (const [name, property] of Object.entries(isObject(part.properties) ? part.properties : {})) {
    if (isObject(property) && Object.hasOwn(glossary, name))
      property.description ??= glossary[name];
  }
  for (const inner of Object.values(part)) explain(inner);
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null;
}

const emptyBody = JSON.stringify({
  "application/json": { schema: { type: "object", properties: {}, additionalProperties: false } },
});
