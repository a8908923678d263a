import { revokeSealedGrant } from "./accounts/disconnect.ts";
import { refreshDueTokens } from "./accounts/google-tokens.ts";
import { grantNotices } from "./accounts/grant-health.ts";
import { deleteExpiredRows } from "./accounts/housekeeping.ts";
import { resealTokens } from "./accounts/reseal.ts";
import type { App } from "./app.ts";
import { classifyHere } from "./documents/built-in-classifier.ts";
import { classificationEnded, classificationPayload } from "./documents/classification.ts";
import { callLostDeliveries, type DeliveryContents, sendDelivery } from "./documents/deliveries.ts";
import { driveSyncEnded, driveSyncPayload } from "./documents/drive-sync.ts";
import { checkFile, listFolder, readFile } from "./documents/file-reading.ts";
import { takeMail } from "./documents/mail.ts";
import { followLinks } from "./documents/mail-links.ts";
import { reconcileBot } from "./meetings/bot-assignment.ts";
import { pollBotsByClock } from "./meetings/bot-polling.ts";
import { tendBot } from "./meetings/bot-tending.ts";
import { deriveForUser, deriveNamed } from "./meetings/meetings.ts";
import { endLostOnboardings, runOnboarding } from "./projects/onboarding.ts";
import type { Handlers } from "./queue/catalog.ts";
import { runSchedule, type Schedules } from "./queue/schedule-runs.ts";
import { followDrives, followFile } from "./sync/drive-feeds.ts";
import { startFeeds } from "./sync/feeds.ts";
import { pollFeeds } from "./sync/polling.ts";
import { type Renewed, renewWatches, repairWatches } from "./sync/renewal.ts";
import { syncFeed } from "./sync/sync.ts";
import { closeWatch, openWatch, stopUnknownChannel } from "./sync/watches.ts";

/** What the clock starts, by the name under which `POST /cron/{name}` starts it too. */
export const schedules: Schedules<App> = {
  "refresh-google-tokens": { everySeconds: 120, run: refreshGoogleTokens },
  "calendar-polling": {
    everySeconds: 600,
    run: (app, _signal, by) => pollFeeds(app, ["calendar_list", "calendar"], by),
  },
  "renew-calendar-watches": {
    everySeconds: 3600,
    run: async (app) => countsOf(await renewWatches(app, ["calendar", "calendar_list"])),
  },
  "renew-calendar-webhooks": {
    everySeconds: 6 * 3600,
    run: async (app) => countsOf(await repairWatches(app)),
  },
  "gmail-polling": {
    everySeconds: 600,
    run: (app, _signal, by) => pollFeeds(app, ["gmail"], by),
  },
  "renew-gmail-watches": {
    everySeconds: 3600,
    run: async (app) => countsOf(await renewWatches(app, ["gmail"])),
  },
  "drive-polling": {
    everySeconds: 600,
    run: (app, _signal, by) => pollFeeds(app, ["drive"], by),
  },
  "renew-drive-watches": {
    everySeconds: 3600,
    run: async (app) => countsOf(await renewWatches(app, ["drive"])),
  },
  "attendee-polling": { everySeconds: 30, run: pollBotsByClock },
  "lost-work": {
    everySeconds: 120,
    run: async (app) => ({
      onboardings: await endLostOnboardings(app),
      deliveries: await callLostDeliveries(app),
    }),
  },
  cleanup: { everySeconds: 3600, run: deleteExpiredRows },
};

/** Every job with what it does. A handler names a function and has no logic of its own: each may run twice. */
export const handlers: Handlers<App> = {
  "schedule.run": (app, { name }, { signal }) => runSchedule(app, schedules, name, signal),
  "feeds.sync": syncFeed,
  "feeds.start": (app, { connectionId }) => startFeeds(app, connectionId),
  "watches.open": async (app, payload) => ({
    opened: (await openWatch(app, payload)) === null ? 0 : 1,
  }),
  "watches.close": closeWatch,
  "watches.stop_unknown": stopUnknownChannel,
  "meetings.derive": deriveForUser,
  "meetings.derive_named": deriveNamed,
  "bots.reconcile": reconcileBot,
  "bots.tend": (app, payload, { signal }) => tendBot(app, payload, { signal }),
  "mail.take": takeMail,
  "mail.links": (app, payload, { signal }) =>
    followLinks(app, payload, {
      follow: (userId, wish) => followFile(app, userId, wish),
      signal,
    }),
  "files.read": readFile,
  "files.check": checkFile,
  "files.list_folder": listFolder,
  "feeds.follow_drives": followDrives,
  "deliveries.send": (app, payload, { signal }) =>
    sendDelivery(app, payload, { signal, contents: deliveryContents }),
  "documents.classify": classifyHere,
  "projects.onboard": runOnboarding,
  "tokens.reseal": (app, _payload, { signal }) =>
    resealTokens(app, (progress) => app.log.info(progress, "resealing"), signal),
  "grants.revoke": (app, payload) => revokeSealedGrant(app, payload),
};

const deliveryContents: DeliveryContents = {
  classification: { payload: classificationPayload, ended: classificationEnded },
  drive_sync: { payload: driveSyncPayload, ended: driveSyncEnded },
};

async function refreshGoogleTokens(app: App, signal: AbortSignal): Promise<Record<string, number>> {
  const results = await refreshDueTokens(app, { signal });
  for (const { code, text } of await grantNotices(app)) app.log.warn({ code }, text);
  const failed = results.filter(({ error }) => error !== null).length;
  return { refreshed: results.length - failed, failed };
}

function countsOf({ renewed, failed, total }: Renewed): Record<string, number> {
  return { renewed, failed, total };
}
