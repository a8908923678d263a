import { z } from "zod";

/** How a job is worked on. The limits are per name; `priority` is given with each job. */
export type JobSettings = {
  /** Attempts after the first, before the job is given up and lies among the dead letters. */
  retryLimit: number;
  /** The first wait between attempts. Each further one is twice as long, with jitter, up to the longest. */
  retryDelaySeconds: number;
  retryDelayMaxSeconds: number;
  /** The time one attempt may take, before its signal is aborted. */
  expireSeconds: number;
  /** How many run at once in each worker process. */
  concurrency: number;
};

const usual: JobSettings = {
  retryLimit: 8,
  retryDelaySeconds: 5,
  retryDelayMaxSeconds: 900,
  expireSeconds: 300,
  concurrency: 2,
};

/** What a job needs to know and how it is worked on, by its name. A handler for each is named in `src/jobs.ts`. */
export const catalog = {
  /** One run of a schedule (`src/jobs.ts`), whether the clock or a person asked for it. */
  "schedule.run": job(z.object({ name: z.string() }), {
    retryLimit: 2,
    expireSeconds: 900,
    concurrency: 4,
  }),
  "tokens.reseal": job(z.object({}), { concurrency: 1, expireSeconds: 3600 }),
  "grants.revoke": job(z.object({ sealedToken: z.string(), boundTo: z.string() }), {
    expireSeconds: 60,
  }),
} as const;

export type JobName = keyof typeof catalog;
export type JobPayload<Name extends JobName = JobName> = z.infer<(typeof catalog)[Name]["payload"]>;

/** What a handler learns of its job. It is to end soon after `signal` aborts: its time is up, or the process stops. */
export type JobContext = { id: string; attempt: number; signal: AbortSignal };

/** What a handler did, in numbers, for the log. */
export type Counts = Record<string, number>;

/** What does a job. It may be called twice for the same one, so all that it does is repeatable. */
export type Handler<App, Name extends JobName> = (
  app: App,
  payload: JobPayload<Name>,
  job: JobContext,
) => Promise<Counts> | Promise<void>;

/** A handler for every name. */
export type Handlers<App> = { [Name in JobName]: Handler<App, Name> };

/** Every name of the catalog, typed as such. */
export const jobNames = Object.keys(catalog).filter(isJobName);

/** Checks a payload. @throws {ZodError} when it is not what the catalog says. */
export function parsePayload<Name extends JobName>(name: Name, data: unknown): JobPayload<Name> {
  const entries: { [Each in JobName]: { payload: z.ZodType<JobPayload<Each>> } } = catalog;
  return entries[name].payload.parse(data);
}

/** Whether a name read from the database is one that this version knows. */
export function isJobName(name: string): name is JobName {
  return Object.hasOwn(catalog, name);
}

function job<Payload extends z.ZodType>(payload: Payload, settings: Partial<JobSettings> = {}) {
  return { payload, settings: { ...usual, ...settings } };
}
