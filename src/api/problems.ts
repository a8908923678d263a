import type { FastifyError, FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import {
  hasZodFastifySchemaValidationErrors,
  isResponseSerializationError,
} from "fastify-type-provider-zod";
import { z } from "zod";
import { AppError, type ErrorCode, type FieldError, ProviderError } from "../lib/errors.ts";

/** What every failure looks like (RFC 9457). */
export const Problem = z
  .object({
    type: z.string().meta({ description: "Names the kind of problem" }),
    title: z.string().meta({ description: "The kind in words" }),
    status: z.int().meta({ description: "The HTTP status" }),
    detail: z.string().meta({ description: "What went wrong this time, for people to read" }),
    request_id: z.string(),
    errors: z
      .array(
        z.object({
          path: z.string(),
          message: z.string().meta({ description: "What is wrong with it, in words" }),
        }),
      )
      .optional()
      .meta({ description: "Which fields cannot be taken; left out where it is none" }),
  })
  .meta({ id: "Problem", description: "What went wrong, and what to do" });

const titles: Record<number, string> = {
  400: "Malformed request",
  401: "Not signed in",
  403: "Not allowed",
  404: "Not found",
  405: "Method not allowed",
  406: "Not acceptable",
  408: "Request timed out",
  409: "Conflict",
  413: "Too large",
  414: "Address too long",
  415: "Unsupported media type",
  422: "Invalid values",
  429: "Too many requests",
  500: "Internal error",
  502: "A provider failed",
  503: "Not available",
  504: "A provider did not answer in time",
};

/**
 * Answers every failure with a problem document. What we did not expect is logged whole and shown as nothing. Of input
 * that a route does not take, `misfit` says whether it is called invalid (422) or malformed (400).
 */
export function answerProblems(
  server: Pick<FastifyInstance, "setErrorHandler">,
  misfit: Misfit = "invalid",
): void {
  server.setErrorHandler<FastifyError>((error, request, reply) =>
    answerProblem(error, request, reply, misfit),
  );
}

type Misfit = Extract<ErrorCode, "invalid" | "malformed">;

/** Answers one failure, as every route does. */
export function answerProblem(
  error: FastifyError,
  request: FastifyRequest,
  reply: FastifyReply,
  misfit: Misfit = "invalid",
): FastifyReply {
  const expected = expectedOf(error, misfit);
  if (expected.code === "internal") request.log.error({ error }, "bug");
  return sendProblem(request, reply, expected);
}

/** Sends one problem document. */
export function sendProblem(
  request: FastifyRequest,
  reply: FastifyReply,
  error: AppError,
): FastifyReply {
  request.failure = error.code;
  if (error.retryAfterSeconds !== undefined)
    reply.header("retry-after", Math.ceil(error.retryAfterSeconds));
  if (error.code === "unauthenticated") reply.header("www-authenticate", "Bearer");
  // Callers of the old addresses look for `error`, some for `message`.
  const isOldAddress = request.url.startsWith("/functions/");
  const body: z.input<typeof Problem> & { error?: string; message?: string } = {
    type: `https://daybook.example/problems/${error.code.replaceAll("_", "-")}`,
    title: titles[error.status] ?? "Error",
    status: error.status,
    detail: error.message,
    request_id: request.id,
    ...(error.fields.length > 0 ? { errors: error.fields } : {}),
    ...(isOldAddress ? { error: error.message, message: error.message } : {}),
  };
  return reply
    .code(error.status)
    .type("application/problem+json")
    .serializer(JSON.stringify)
    .send(body);
}

function expectedOf(error: FastifyError, misfit: Misfit): AppError {
  if (error instanceof AppError) return error;
  if (error instanceof ProviderError) return providerProblem(error);
  if (hasZodFastifySchemaValidationErrors(error)) return misfitProblem(error, misfit);
  if (isResponseSerializationError(error))
    return new AppError("internal", "Internal error", { cause: error });
  if (isDatabaseGone(error)) {
    return new AppError("unavailable", "The database does not answer. Try again in a moment.", {
      retryAfterSeconds: 2,
    });
  }
  const status = error.statusCode ?? 500;
  return status < 500
    ? new AppError(codeOfStatus[status] ?? "malformed", error.message)
    : new AppError("internal", "Internal error", { cause: error });
}

// Fastify's own refusals: a body that is not JSON, too large, of a type we do not read.
const codeOfStatus: Record<number, ErrorCode> = {
  400: "malformed",
  403: "forbidden",
  404: "not_found",
  408: "malformed",
  413: "too_large",
  414: "malformed",
  415: "unsupported_media_type",
};

function misfitProblem(
  error: {
    validation: { instancePath: string; message?: string | undefined; params?: unknown }[];
    validationContext?: string;
  },
  misfit: Misfit,
): AppError {
  const place = error.validationContext ?? "body";
  const fields: FieldError[] = error.validation.map(({ instancePath, message }) => ({
    path: [place, ...instancePath.split("/").filter(Boolean)].join("."),
    message: message ?? "is not valid",
  }));
  const first = fields[0];
  return new AppError(misfit, first ? `${first.path}: ${first.message}` : "Invalid values", {
    fields,
  });
}

function providerProblem(error: ProviderError): AppError {
  const { message, retryAfterSeconds } = error;
  switch (error.failure) {
    case "reauthorise":
      return new AppError("conflict", "Google needs the person to reconnect this account");
    case "scope_missing":
      return new AppError(
        "conflict",
        "Google was not allowed this by the person: reconnect and allow it",
      );
    case "not_found":
      return new AppError("not_found", message);
    case "wait":
      return new AppError("unavailable", message, { retryAfterSeconds: retryAfterSeconds ?? 60 });
    case "retry":
      return new AppError(
        error.reason === "timeout" ? "provider_timeout" : "provider_failed",
        message,
        {
          retryAfterSeconds: retryAfterSeconds ?? 5,
        },
      );
    case "start_over":
    case "give_up":
      return new AppError("provider_failed", message);
  }
}

// Connection failures of the driver, and PostgreSQL's classes 08 (connection), 40 (lost against another transaction),
// 53 (out of resources), 57 (canceled or shutting down).
const databaseGone =
  /^(08|40|53|57)...$|^(ECONNREFUSED|ECONNRESET|EHOSTUNREACH|ENETUNREACH|ENOENT|EPIPE|ETIMEDOUT|EAI_AGAIN|ENOTFOUND)$/;

function isDatabaseGone(error: { code?: unknown; message: string }): boolean {
  if (databaseGone.test(String(error.code ?? ""))) return true;
  return /Connection terminated|not currently accepting connections|timeout exceeded when trying to connect|Client has encountered a connection error/.test(
    error.message,
  );
}
