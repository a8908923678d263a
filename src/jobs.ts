import { revokeSealedGrant } from "./accounts/disconnect.ts";
import { refreshDueTokens } from "./accounts/google-tokens.ts";
import { grantNotices } from "./accounts/grant-health.ts";
import { deleteExpiredRows } from "./accounts/housekeeping.ts";
import { resealTokens } from "./accounts/reseal.ts";
import type { App } from "./app.ts";
import type { Handlers } from "./queue/catalog.ts";
import { runSchedule, type Schedules } from "./queue/schedule-runs.ts";

/** What the clock starts, by the name under which `POST /cron/{name}` starts it too. */
export const schedules: Schedules<App> = {
  "refresh-google-tokens": { everySeconds: 120, run: refreshGoogleTokens },
  cleanup: { everySeconds: 3600, run: deleteExpiredRows },
};

/** Every job with what it does. A handler names a function and has no logic of its own: each may run twice. */
export const handlers: Handlers<App> = {
  "schedule.run": (app, { name }, { signal }) => runSchedule(app, schedules, name, signal),
  "tokens.reseal": (app, _payload, { signal }) =>
    resealTokens(app, (progress) => app.log.info(progress, "resealing"), signal),
  "grants.revoke": (app, payload) => revokeSealedGrant(app, payload),
};

async function refreshGoogleTokens(app: App, signal: AbortSignal): Promise<Record<string, number>> {
  const results = await refreshDueTokens(app, { signal });
  for (const { code, text } of await grantNotices(app)) app.log.warn({ code }, text);
  const failed = results.filter(({ error }) => error !== null).length;
  return { refreshed: results.length - failed, failed };
}
