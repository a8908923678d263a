import { type DestinationStream, type Logger, pino } from "pino";

export type Log = Logger;

// Belt and braces: nothing secret is handed to the log in the first place. A test greps a whole run.
const secretFields = [
  "authorization",
  "cookie",
  "token",
  "access_token",
  "refresh_token",
  "id_token",
  "code",
  "client_secret",
  "email",
  "password",
];

/** A structured log: one line for each finished unit of work, with ids, counts and milliseconds as fields. */
export function openLog(level: string, destination?: DestinationStream): Log {
  const options = {
    level,
    base: null,
    timestamp: () => `,"time":"${new Date().toISOString()}"`,
    redact: { paths: secretFields.flatMap((field) => [field, `*.${field}`]), censor: "***" },
    serializers: { error: describeError },
  };
  return destination ? pino(options, destination) : pino(options);
}

/** An error as we log it: name, code, stack and causes, but none of a client's request or response objects. */
function describeError(error: unknown): unknown {
  if (!(error instanceof Error)) return { message: String(error) };
  const { name, message, stack, cause } = error;
  // Under `code` it would be taken for one of a sign-in, and hidden.
  const code = "code" in error ? { errorCode: error.code } : {};
  return { name, message, ...code, stack, ...(cause ? { cause: describeError(cause) } : {}) };
}
