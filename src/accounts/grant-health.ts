import { sql } from "kysely";
import type { App } from "../app.ts";

/** Something the operator should know, with the cure in the same breath. */
export type Notice = { code: "testing_client" | "many_grants_ended"; text: string };

/**
 * What the deaths of grants tell about the set-up. Google never says why a grant died; that they die seven days after
 * consent does: a consent screen in "Testing" ends every grant then, used or not.
 */
export async function grantNotices(app: Pick<App, "db" | "clock">): Promise<Notice[]> {
  const now = app.clock.now().getTime();
  const row = await app.db
    .selectFrom("grant_deaths")
    .select([
      sql<number>`(count(*) filter (where died_at > ${new Date(now - 3_600_000)}))::int`.as(
        "lastHour",
      ),
      sql<number>`(count(*) filter (where had_lived_days between 6.5 and 7.6))::int`.as(
        "afterAWeek",
      ),
      sql<number>`(count(had_lived_days))::int`.as("known"),
    ])
    .where("died_at", ">", new Date(now - 30 * 86_400_000))
    .executeTakeFirstOrThrow();
  const notices: Notice[] = [];
  if (row.afterAWeek >= 2 && row.afterAWeek * 2 >= row.known) {
    notices.push({
      code: "testing_client",
      text:
        "Google connections keep ending seven days after consent: the OAuth consent screen is in “Testing”. " +
        "Publish it (Google Cloud console, Google Auth Platform, Audience, Publish app), then let people reconnect.",
    });
  }
  if (row.lastHour >= 5) {
    notices.push({
      code: "many_grants_ended",
      text:
        `${row.lastHour} Google connections ended within the last hour. One person's change ends one; many at once point ` +
        "to the OAuth client or to an administrator's rule: check the client in the Google Cloud console.",
    });
  }
  return notices;
}
