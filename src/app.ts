import { type Config, ConfigError } from "./config.ts";
import { type Database, type Db, openDatabase } from "./db/connection.ts";
import { type Embedded, startEmbedded } from "./db/embedded.ts";
import { migrate } from "./db/migrate.ts";
import { type Clock, systemClock } from "./lib/clock.ts";
import {
  type Limits,
  openLimits,
  openProviderLimits,
  openRedis,
  type ProviderLimits,
  type usualLimits,
} from "./lib/limits.ts";
import { type Log, openLog } from "./lib/log.ts";
import { type GoogleOAuth, openGoogleOAuth } from "./providers/google/oauth.ts";
import { openQueue, type Queue } from "./queue/queue.ts";

/** Everything that the parts of Daybook work with. Each function asks for what it uses of it. */
export type App = {
  config: Config;
  log: Log;
  clock: Clock;
  database: Database;
  db: Db;
  queue: Queue;
  limits: Limits;
  providerLimits: ProviderLimits;
  googleOAuth: GoogleOAuth;
  /** The PostgreSQL that we started ourselves; null where one was given. */
  embedded: Embedded | null;
  [Symbol.asyncDispose](): Promise<void>;
};

/** What tests and the sandbox replace. */
export type Overrides = {
  clock?: Clock;
  log?: Log;
  callsPerMinute?: typeof usualLimits;
  onProgress?: (step: string) => void;
};

/**
 * Puts the parts together: database (migrated), queue, limits, Google. Closing it closes them, last opened first.
 *
 * @throws {ConfigError} when the database cannot be reached or used.
 * @throws {MigrationError} when it cannot be migrated. Nothing is left open then.
 */
export async function openApp(config: Config, overrides: Overrides = {}): Promise<App> {
  const log = overrides.log ?? openLog(config.logLevel);
  const clock = overrides.clock ?? systemClock;
  const progress = overrides.onProgress ?? (() => {});
  await using opened = new AsyncDisposableStack();

  const onStarting = () => progress("PostgreSQL is starting");
  const embedded = config.databaseUrl
    ? null
    : opened.use(await startEmbedded(config.dataDir, log, { onStarting }));
  const database = opened.use(openDatabase(config.databaseUrl ?? embedded?.url ?? ""));
  progress("Tables are brought up to date");
  await migrate(database, { keyring: config.keyring, log }).catch(explainRefusal);
  progress("Queue is opening");
  const queue = opened.use(await openQueue({ database, log, clock }));
  const redis = config.redisUrl ? await openRedis(config.redisUrl, log) : null;
  opened.defer(() => redis?.disconnect());
  const limits = openLimits(redis, overrides.callsPerMinute);
  const quotas = {
    calendar: config.google.calendarQuota,
    gmail: config.google.gmailQuota,
    drive: config.google.driveQuota,
    openai: config.openaiQuota,
  };
  const providerLimits = openProviderLimits(quotas, { redis, pool: database.pool });
  const googleOAuth = openGoogleOAuth(config.google, clock);

  const kept = opened.move();
  return {
    config,
    log,
    clock,
    database,
    db: database.db,
    queue,
    limits,
    providerLimits,
    googleOAuth,
    embedded,
    [Symbol.asyncDispose]: () => kept.disposeAsync(),
  };
}

// What the network and PostgreSQL refuse carries a code, and what takes too long says so; what we did wrong does neither.
function explainRefusal(error: unknown): never {
  const isSlow = error instanceof Error && /^(connection terminated|timeout)/i.test(error.message);
  if (!(error instanceof Error && ("code" in error || isSlow))) throw error;
  // Where a name has several addresses, each has failed in its own way.
  const { message } = error instanceof AggregateError ? error.errors[0] : error;
  throw new ConfigError(
    `The database cannot be used: ${message}. Check DATABASE_URL (host, name, user, password), that the server is PostgreSQL 15 or newer and runs, and that this user may create tables.`,
    { cause: error },
  );
}
