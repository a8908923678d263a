import { isUtf8 } from "node:buffer";
import type { FastifyBodyParser, FastifyInstance } from "fastify";
import { validatorCompiler } from "fastify-type-provider-zod";
import { z } from "zod";
import { AppError } from "../lib/errors.ts";

declare module "fastify" {
  interface FastifyRequest {
    /** A JSON body as it was sent: what a signature is made over. */
    sentText: string;
  }
}

/** What a request may carry: JSON without traps, and nothing but what its route names. */
export function acceptInput(server: FastifyInstance): void {
  server.decorateRequest("sentText", "");
  server.setValidatorCompiler(validatorOf);
  server.removeContentTypeParser(["application/json", "text/plain"]);
  server.addContentTypeParser("application/json", { parseAs: "buffer" }, readJson);
  refuseStrayInput(server);
}

/**
 * What the old addresses take: JSON under any label or none, as their functions did, and no body where they describe
 * none, whatever is sent. Browsers send such bodies to other sites without asking first, so that callers by cookie rest
 * on the check of `Origin` alone.
 */
export function acceptAnyLabel(old: FastifyInstance): void {
  // Fastify refuses a label that is no media type before it asks a reader.
  old.addHook("onRequest", async ({ headers }) => {
    delete headers["content-type"];
  });
  old.addContentTypeParser<Buffer>("*", { parseAs: "buffer" }, (request, sent, done) =>
    request.routeOptions.schema?.body ? readJson(request, sent, done) : done(null, undefined),
  );
}

// Fastify says null where there is no body; to a schema that would be a value.
const validatorOf: typeof validatorCompiler = (route) => {
  const validate = validatorCompiler(route);
  return (input: unknown) =>
    validate(route.httpPart === "body" && input === null ? undefined : input);
};

// Many clients name the type and send nothing: that is no body, not a broken one.
const readJson: FastifyBodyParser<Buffer> = (request, sent, done) => {
  if (sent.length === 0) return done(null, undefined);
  request.sentText = sent.toString();
  try {
    if (!isUtf8(sent)) throw new Error("not UTF-8");
    const body: unknown = JSON.parse(request.sentText);
    if (hasPoison(body)) throw new Error("names or signs that are not allowed");
    done(null, body);
  } catch {
    done(new AppError("malformed", "The body is not valid JSON"));
  }
};

/** Whether JSON that was sent holds what must go no further: signs that PostgreSQL refuses, names that are traps. */
export function hasPoison(value: unknown, depth = 0): boolean {
  // PostgreSQL's text cannot hold a NUL, and its JSON no half of a surrogate pair.
  if (typeof value === "string") return value.includes("\0") || !value.isWellFormed();
  if (typeof value !== "object" || value === null) return false;
  if (depth > 50 || Object.hasOwn(value, "__proto__")) return true;
  return Object.entries(value)
    .flat()
    .some((inner) => hasPoison(inner, depth + 1));
}

// A route that names no query, or no body, takes none: a misspelt wish must not pass in silence.
function refuseStrayInput(server: FastifyInstance): void {
  const nothing = z.strictObject({});
  server.addHook("onRoute", (route) => {
    // The old addresses took anything, and still do.
    const isOurs = route.config?.who && !route.url.startsWith("/functions/");
    if (!isOurs || !route.schema || route.schema.hide) return;
    route.schema.querystring ??= nothing;
    if (route.method !== "GET" && route.method !== "HEAD") route.schema.body ??= nothing.optional();
  });
  server.addHook("onRequest", async (request) => {
    if (request.url.includes("%00")) throw new AppError("malformed", "The address holds a NUL");
  });
}
