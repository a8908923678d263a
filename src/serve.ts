import type { FastifyInstance } from "fastify";
import { countSealed } from "./accounts/reseal.ts";
import type { Mount } from "./api/server.ts";
import { type App, type Overrides, openApp } from "./app.ts";
import { type Config, ConfigError } from "./config.ts";
import { handlers, schedules } from "./jobs.ts";
import { enqueue, ensureSchedules, type Schedule } from "./queue/queue.ts";
import { startWorkers } from "./queue/workers.ts";
import { startDispatcher } from "./sync/dispatcher.ts";
import { startMailboxPull } from "./sync/mailbox-notifications.ts";

export type Running = {
  app: App;
  server: FastifyInstance | null;
  [Symbol.asyncDispose](): Promise<void>;
};

/**
 * Runs Daybook in the configured role: the API listens, the workers work, or both. Closing it stops taking in requests
 * and jobs, finishes or hands back what runs, and closes the rest.
 *
 * @throws {ConfigError} when it cannot listen; also as {@link openApp}
 */
export async function serve(
  config: Config,
  { mounts, ...overrides }: Overrides & { mounts?: Mount[] } = {},
): Promise<Running> {
  await using opened = new AsyncDisposableStack();
  const app = opened.use(await openApp(config, overrides));
  if (config.usesCeleryVariables) {
    app.log.warn(
      "CELERY_* is set but not used: the queue lives in PostgreSQL, and needs no broker",
    );
  }
  // Opened first, and so closed last: whoever waits for an answer gets it while there are still workers.
  const workers = opened.use(new AsyncDisposableStack());
  const server = config.role === "worker" ? null : await openApi(app, mounts);
  if (server) {
    opened.defer(() => server.close());
    await server.listen({ host: config.host, port: config.port }).catch((error: Error) => {
      throw new ConfigError(`${error.message}. Check HOST and PORT.`, { cause: error });
    });
  }
  if (config.role !== "api") {
    await ensureSchedules(app.queue, Object.entries(schedules).map(scheduleOf));
    workers.use(await startWorkers(app, handlers));
    workers.use(startDispatcher(app));
    workers.use(startMailboxPull(app));
    await resealIfNeeded(app);
  }
  const kept = opened.move();
  return { app, server, [Symbol.asyncDispose]: () => kept.disposeAsync() };
}

// A process that only works starts the sooner for not loading it.
async function openApi(app: App, mounts: Mount[] | undefined): Promise<FastifyInstance> {
  const { openServer } = await import("./api/server.ts");
  return openServer(app, { schedules, mounts });
}

function scheduleOf([name, { everySeconds }]: [string, { everySeconds: number }]): Schedule {
  return { name, everySeconds, job: { name: "schedule.run", payload: { name }, key: name } };
}

// A rotated key needs nobody to remember it: the job is there as soon as a value of the earlier key is.
async function resealIfNeeded(app: App): Promise<void> {
  const { old } = await countSealed(app);
  if (old > 0) await enqueue(app, app.db, { name: "tokens.reseal", payload: {}, key: "all" });
}
