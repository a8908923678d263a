import { sql } from "kysely";
import { openApp } from "../src/app.ts";
import { openLog } from "../src/lib/log.ts";
import { dispatchDueFeeds } from "../src/sync/feeds.ts";
import { openTestApp, testConfig } from "../test/harness.ts";

// `npm run bench:dispatch`: how many due feeds a second two processes claim and enqueue, among very many that are not
// due, as a ratio to the same among few.

const many = Number(process.env.BENCH_FEEDS ?? 1_000_000);
const due = Number(process.env.BENCH_DUE ?? 50_000);
const users = 10_000;

const among = await perSecond(many);
const alone = await perSecond(due);
console.log(`${many} feeds cost ${(alone / among).toFixed(2)} times what ${due} do`);
process.exit();

async function perSecond(feeds: number): Promise<number> {
  await using t = await openTestApp({ workers: false });
  await using other = await openApp(
    testConfig(t.google, { url: t.url, port: 4400, database: t.database }),
    { clock: t.clock, log: openLog("silent") },
  );
  await sql`
    insert into users (id, email) select gen_random_uuid(), 'user' || one || '@example.com'
    from generate_series(1, ${users}::int) as one
  `.execute(t.app.db);
  await sql`
    insert into connections (user_id, provider, subject, email, updated_at)
    select id, 'google', email, email, now() from users
  `.execute(t.app.db);
  await sql`
    insert into feeds (user_id, connection_id, kind, resource, due_at)
    select connections.user_id, connections.id, 'calendar', one::text,
      ${t.clock.now()}::timestamptz + case when row_number() over (order by one, connections.id) <= ${due}::int
        then interval '-1 minute' else interval '1 hour' end
    from connections cross join generate_series(1, ${Math.ceil(feeds / users)}::int) as one
    order by random()
  `.execute(t.app.db);
  await sql`analyze feeds`.execute(t.app.db);
  const startedMs = performance.now();
  const claimed = await Promise.all([dispatchDueFeeds(t.app), dispatchDueFeeds(other)]);
  const seconds = (performance.now() - startedMs) / 1000;
  const total = claimed.reduce((sum, one) => sum + one, 0);
  const rate = total / seconds;
  console.log(
    `${total} due of ${feeds} feeds, two processes (${claimed.join(" and ")}): ${Math.round(rate)} a second`,
  );
  return rate;
}
