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

/** Why a feed is looked at: it begins, it is time, the provider told, or somebody waits. */
const SyncReason = z.enum(["start", "poll", "push", "person"]);

/** Why a watch is opened: there is none, the last try failed, its time has come, it missed changes, or at a wish. */
const WatchReason = z.enum(["missing", "retry", "renewal", "missed", "silent", "person"]);

/** What a job needs to know and how it is worked on, by its name. A handler for each is named in `src/jobs.ts`. */
export const catalog = {
  /** One run of a schedule (`src/jobs.ts`), whether the clock or a person asked for it. */
  "schedule.run": job(z.object({ name: z.string() }), {
    retryLimit: 2,
    expireSeconds: 900,
    concurrency: 4,
  }),
  /** Brings our tables up to one feed. Its failures wait in the feed's own row, so that none of them blocks a worker. */
  "feeds.sync": job(z.object({ feedId: z.guid(), reason: SyncReason }), {
    retryLimit: 20,
    retryDelaySeconds: 2,
    retryDelayMaxSeconds: 60,
    expireSeconds: 900,
    concurrency: 8,
  }),
  /** What a connection allows is followed from now on, and what it no longer allows is not. */
  "feeds.start": job(z.object({ connectionId: z.guid() }), { retryLimit: 20 }),
  "watches.open": job(z.object({ feedId: z.guid(), reason: WatchReason }), {
    retryLimit: 3,
    concurrency: 4,
  }),
  "watches.close": job(z.object({ watchId: z.guid() }), { retryLimit: 3, concurrency: 4 }),
  /** A channel that we do not know, by what its own notification said. */
  "watches.stop_unknown": job(
    z.object({ channelId: z.string(), resourceId: z.string(), resource: z.string() }),
    { retryLimit: 1, concurrency: 1 },
  ),
  "meetings.derive": job(z.object({ userId: z.guid(), eventIds: z.array(z.string()) })),
  /** Somebody has chosen the name of their assistant, which may have been invited by it before. */
  "meetings.derive_named": job(z.object({ userId: z.guid() })),
  "bots.reconcile": job(z.object({ meetingId: z.guid() }), { concurrency: 4 }),
  /** Makes one bot so as it is wanted, and notes what became of it. Its failures wait in the bot's own row. */
  "bots.tend": job(z.object({ botId: z.guid() }), { concurrency: 8, expireSeconds: 120 }),
  /** Reads a mail that was taken, and makes the document of it. */
  "mail.take": job(z.object({ decisionId: z.guid() }), { retryLimit: 100, concurrency: 4 }),
  /** Follows the files that a mail links to. */
  "mail.links": job(z.object({ documentId: z.guid() }), { retryLimit: 100 }),
  /** Reads the content of a file that is followed. Its failures wait in the file's own row. */
  "files.read": job(z.object({ watchedFileId: z.guid() }), { concurrency: 4 }),
  /** Looks at a file by itself. */
  "files.check": job(z.object({ watchedFileId: z.guid() }), { concurrency: 2 }),
  /** Brings the feeds of shared drives in line with the files that are followed in them. */
  "feeds.follow_drives": job(z.object({ feedId: z.guid(), told: z.array(z.string()).default([]) })),
  "files.list_folder": job(z.object({ watchedFileId: z.guid() })),
  /** One try of a delivery. When the next one is due stands in its row. */
  "deliveries.send": job(z.object({ deliveryId: z.guid() }), { concurrency: 8 }),
  /** Finds a document's project by the rules here, where no workflow does. */
  "documents.classify": job(z.object({ documentId: z.guid() }), { concurrency: 4 }),
  /**
   * Drafts a project's metadata. What the model does not do is noted in the onboarding's row, and not tried again here:
   * an attempt asks it three times, and each may take what OPENAI_TIMEOUT_SECONDS allows, ten minutes at most.
   */
  "projects.onboard": job(z.object({ onboardingId: z.guid() }), {
    retryLimit: 3,
    concurrency: 4,
    expireSeconds: 2_000,
  }),
  "tokens.reseal": job(z.object({}), { concurrency: 1, expireSeconds: 3600 }),
  "grants.revoke": job(
    z.object({
      sealedToken: z.string(),
      boundTo: z.string(),
      isRefreshToken: z.boolean(),
      /** Whose grant it is, by Google's id of the account. */
      subject: z.string().nullable().default(null),
      /** Only what is named is stopped; or, of a job from a version that named no account, another connection lived on the grant. */
      keepsGrant: z.boolean().optional(),
      /** Channels to stop while the token still opens something. */
      channels: z
        .array(
          z.object({
            channelId: z.string(),
            resourceId: z.string(),
            /** Of Drive; else of the calendars. */
            isDrives: z.boolean().default(false),
          }),
        )
        .default([]),
      /** Its mailbox is watched, and is not to be any longer. */
      stopsMailbox: z.boolean().default(false),
    }),
    { expireSeconds: 60 },
  ),
} as const;

export type JobName = keyof typeof catalog;
export type JobPayload<Name extends JobName = JobName> = z.infer<(typeof catalog)[Name]["payload"]>;

/** What a handler learns of its job. It is to end soon after `signal` aborts: its time is up, or the process stops. */
export type JobContext = {
  id: string;
  attempt: number;
  signal: AbortSignal;
  /** Whether this attempt, if it now ends with that error, is the last, and nobody will try again. */
  isGivenUpBy(error: unknown): boolean;
};

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
