import assert from "node:assert/strict";
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { after, afterEach, before, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { sql } from "kysely";
import { addFault, clearFaults } from "../../sandbox/google/faults.ts";
import { boundTo } from "../../src/accounts/connections.ts";
import { openGoogleAccess } from "../../src/accounts/google-access.ts";
import { exportLimits } from "../../src/api/me.ts";
import type { Tx } from "../../src/db/connection.ts";
import { listCalendars } from "../../src/providers/google/calendar.ts";
import { getFile } from "../../src/providers/google/drive.ts";
import { getHead } from "../../src/providers/google/gmail.ts";
import { enqueue } from "../../src/queue/queue.ts";
import { type Feed, listFeeds, lockFeed } from "../../src/sync/feeds.ts";
import { sourceOf } from "../../src/sync/sources.ts";
import { eventIn } from "../calendars.ts";
import { delta, openTestApp, type TestApp, type Visitor } from "../harness.ts";
import { anasAssistant, anasMail, jonas, sendAndRead } from "../mails.ts";
import { until, waitingFor } from "../timing.ts";

describe("a person's own data", () => {
  let t: TestApp;
  before(async () => {
    t = await openTestApp();
  });
  after(() => t[Symbol.asyncDispose]());

  const grantsOf = (email: string) => {
    const { sub } = t.google.state.people.find((person) => person.email === email)!;
    return [...t.google.state.grants.values()].filter((grant) => grant.sub === sub).length;
  };
  const revocations = async (...states: string[]) => {
    const { rows } = await sql`
      select from pgboss.job_common where name = 'grants.revoke' and state::text = any(${states})
    `.execute(t.app.db);
    return rows.length;
  };
  const allIsRevoked = () =>
    until(async () => {
      await t.hurry("grants.revoke");
      return (await revocations("created", "active", "retry")) === 0;
    });
  // Away until it is said to be back, for however long the machine stands still; and nobody else's revocation meets it.
  const revokeWhileGoogleIsAway = async (visitor: Visitor) => {
    await allIsRevoked();
    const { id } = addFault(t.google.state, {
      endpoint: "oauth.revoke",
      status: 503,
      times: null,
    });
    await visitor.call("POST", "/api/v1/auth/google/token/revoke", {});
    await until(async () => (await revocations("retry")) === 1);
    return async () => {
      clearFaults(t.google.state, id);
      await allIsRevoked();
    };
  };
  const insertDay = async (userId: string) => {
    const { rows } = await sql<{ project: string }>`
      insert into projects (name, created_by) values ('Harbour', ${userId}) returning id as project`.execute(
      t.app.db,
    );
    const project = rows[0]!.project;
    await sql`insert into documents (title, project_id, created_by, status) values ('Plan', ${project}, ${userId}, 'active')`.execute(
      t.app.db,
    );
    await sql`insert into meetings (user_id, title, start_time, end_time, project_id) values (${userId}, 'Talk', now(), now(), ${project})`.execute(
      t.app.db,
    );
    return project;
  };

  test("the export is all rows of the user, one a line, and no secret", async () => {
    const ana = await t.signIn("ana@example.com");
    const priya = await t.signIn("priya@example.com");
    await insertDay(ana.userId);
    await insertDay(priya.userId);
    const { status, body, headers } = await ana.call("GET", "/api/v1/me/export");
    assert.equal(status, 200);
    assert.match(headers.get("content-type") ?? "", /ndjson/);
    const lines = String(body)
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line));
    const tables = new Set(lines.map(({ table }) => table));
    for (const table of [
      "users",
      "connections",
      "sessions",
      "projects",
      "documents",
      "meetings",
      "audit_trail",
    ]) {
      assert.ok(tables.has(table), table);
    }
    assert.equal(lines.filter(({ table }) => table === "meetings").length, 1);
    assert.doesNotMatch(
      String(body),
      new RegExp(`${priya.userId}|v1\\.[0-9a-f]{8}\\.|token_hash|refresh_token"`),
    );
  });

  test("disconnecting revokes the grant at Google and takes the tokens, but not the way to sign in", async () => {
    const jonas = await t.signIn("jonas.weber@example.com");
    assert.equal(grantsOf("jonas.weber@example.com"), 1);
    const { status } = await jonas.call("POST", "/api/v1/auth/google/token/revoke", {});
    assert.equal(status, 200);
    await until(() => grantsOf("jonas.weber@example.com") === 0);
    const { body } = await jonas.call("GET", "/api/v1/me");
    assert.equal(body.connections[0].state_reason, "disconnected");
    const row = await t.app.db
      .selectFrom("connections")
      .selectAll()
      .where("user_id", "=", jonas.userId)
      .executeTakeFirstOrThrow();
    assert.deepEqual([row.access_token, row.refresh_token], [null, null]);
    const again = await t.signIn("jonas.weber@example.com");
    assert.equal(again.userId, jonas.userId);
    assert.equal((await again.call("GET", "/api/v1/me")).body.connections[0].state, "active");
  });

  test("revoking is tried again when Google is away", async () => {
    const zoe = await t.signIn("zoe.lindqvist@example.org");
    const googleIsBack = await revokeWhileGoogleIsAway(zoe);
    assert.equal(grantsOf("zoe.lindqvist@example.org"), 1);
    await googleIsBack();
    assert.equal(grantsOf("zoe.lindqvist@example.org"), 0);
  });

  test("revoking that comes late leaves alone what the person has granted since", async () => {
    const zoe = await t.signIn("zoe.lindqvist@example.org");
    const googleIsBack = await revokeWhileGoogleIsAway(zoe);
    await zoe.connect("zoe.lindqvist@example.org");
    await googleIsBack();
    assert.equal(grantsOf("zoe.lindqvist@example.org"), 1);
    const { body } = await zoe.call("POST", "/api/v1/auth/google/token/refresh", {});
    assert.ok(body.expires_in > 3_000, JSON.stringify(body));
  });

  test("revoking that an earlier version asked for spares a grant that others live on", async () => {
    const zoe = await t.signIn("zoe.lindqvist@example.org");
    const { id, refresh_token } = await t.app.db
      .selectFrom("connections")
      .select(["id", "refresh_token"])
      .where("user_id", "=", zoe.userId)
      .executeTakeFirstOrThrow();
    await enqueue(t.app, t.app.db, {
      name: "grants.revoke",
      payload: {
        sealedToken: refresh_token!,
        boundTo: boundTo(id, "refresh_token"),
        isRefreshToken: true,
        subject: null,
        keepsGrant: true,
        channels: [],
        stopsMailbox: false,
      },
    });
    await until(async () => (await revocations("created", "active", "retry")) === 0);
    assert.equal(grantsOf("zoe.lindqvist@example.org"), 1);
  });

  test("somebody else's connection cannot be disconnected", async () => {
    const ana = await t.signIn("ana@example.com");
    const priya = await t.signIn("priya@example.com");
    const { body } = await priya.call("GET", "/api/v1/me");
    const { status } = await ana.call("POST", "/api/v1/auth/google/token/revoke", {
      connection_id: body.connections[0].id,
    });
    assert.equal(status, 404);
    assert.equal(grantsOf("priya@example.com"), 1);
  });

  test("deleting removes every row of the user in every table, revokes at Google, and touches nobody else", async () => {
    const ana = await t.signIn("ana@example.com");
    const priya = await t.signIn("priya@example.com");
    await t.idle();
    const project = await insertDay(ana.userId);
    await sql`insert into documents (title, project_id, created_by) values ('Guest', ${project}, ${priya.userId})`.execute(
      t.app.db,
    );
    const priyasBefore = String((await priya.call("GET", "/api/v1/me/export")).body).split(
      "\n",
    ).length;
    assert.equal((await ana.call("DELETE", "/api/v1/me")).status, 204);
    assert.equal((await ana.call("GET", "/api/v1/me")).status, 401);
    await until(() => grantsOf("ana@example.com") === 0);
    const { rows } = await sql<{ table: string; column: string }>`
      select table_name as table, column_name as column from information_schema.columns join information_schema.tables using (table_schema, table_name)
      where table_schema = 'public' and table_type = 'BASE TABLE' and data_type in ('uuid', 'text')`.execute(
      t.app.db,
    );
    for (const { table, column } of rows) {
      const found =
        await sql`select from ${sql.table(table)} where ${sql.ref(column)}::text = ${ana.userId}`.execute(
          t.app.db,
        );
      assert.equal(found.rows.length, 0, `${table}.${column} still names the user`);
    }
    const priyasAfter = String((await priya.call("GET", "/api/v1/me/export")).body).split(
      "\n",
    ).length;
    assert.equal(priyasAfter, priyasBefore);
    const { rows: guests } = await sql<{
      project_id: string | null;
    }>`select project_id from documents where title = 'Guest'`.execute(t.app.db);
    assert.deepEqual(guests, [{ project_id: null }]);
  });

  test("a whole run leaves no token, key, address or cookie in the log", async () => {
    const log = t.logged.join("");
    assert.ok(t.logged.length > 20);
    assert.doesNotMatch(
      log,
      /ya29|1\/\/0|eyJ[A-Za-z0-9_-]{10}|@example\.(com|org)|daybook_session=|for-tests/,
    );
    const { rows } = await sql<{
      payload: string;
    }>`select data::text as payload from pgboss.job_common`.execute(t.app.db);
    assert.doesNotMatch(JSON.stringify(rows), /ya29|"1\/\/0/);
  });
});

describe("an account of which something is being written", () => {
  const ways = {
    "can be disconnected": (visitor: Visitor) =>
      visitor.call("POST", "/api/v1/auth/google/token/revoke", {}),
    "goes with its user": (visitor: Visitor) => visitor.call("DELETE", "/api/v1/me"),
  };
  type Story = Awaited<ReturnType<typeof anasMail>>;
  const changes = {
    drive: async ({ t, visitor }: Story, { connection_id }: Feed) => {
      const fileId = t.google.drive.addFile("ana@example.com", { name: "Plan", content: "1" });
      await visitor.call("POST", "/api/v1/drive/subscribe", { file_id: fileId });
      await t.idle();
      const google = openGoogleAccess(t.app, connection_id).request;
      return { type: "file", file: await getFile(google, fileId), at: null };
    },
    gmail: async ({ t }: Story, { connection_id }: Feed) => {
      const mail = { from: jonas, to: "ana@example.com", cc: anasAssistant, text: "Hello" };
      const { ids } = await sendAndRead(t, mail);
      const google = openGoogleAccess(t.app, connection_id).request;
      return { type: "head", head: await getHead(google, ids["ana@example.com"]!) };
    },
  };
  const feedsOf = async ({ t, visitor }: Story) => {
    const feeds = await listFeeds(t.app, visitor.userId);
    return Object.fromEntries(feeds.map((feed) => [feed.kind, feed])) as Record<Feed["kind"], Feed>;
  };
  const meanwhile = async <Answer, After>(
    { t }: Story,
    before: (tx: Tx) => Promise<unknown>,
    act: () => Promise<Answer>,
    after: (tx: Tx) => Promise<After>,
  ) =>
    t.app.db.transaction().execute(async (tx) => {
      await before(tx);
      const count = (await waitingFor(t)).length;
      const answer = act();
      await until(async () => (await waitingFor(t)).length > count);
      return { answer, ...(await after(tx)) };
    });

  for (const [way, leave] of Object.entries(ways)) {
    test(`${way}, though PostgreSQL ends it once for a deadlock`, async () => {
      await using story = await anasMail();
      const { t, visitor } = story;
      await sql`create sequence leavings`.execute(t.app.db);
      await sql`
        create function fail_once() returns trigger language plpgsql as $$ begin
          if nextval('leavings') = 1 then raise exception using errcode = 'deadlock_detected'; end if;
          return coalesce(new, old);
        end $$`.execute(t.app.db);
      await sql`
        create trigger fail_once before update or delete on connections for each row execute function fail_once()
      `.execute(t.app.db);
      assert.ok((await leave(visitor)).status < 300);
      const left = await sql`select from connections where refresh_token is not null`.execute(
        t.app.db,
      );
      assert.deepEqual(left.rows, []);
    });

    for (const kind of ["drive", "gmail"] as const) {
      test(`${way} while a page of ${kind} is written`, async () => {
        await using story = await anasMail();
        const { [kind]: feed } = await feedsOf(story);
        const page = { changes: [await changes[kind](story, feed)], position: delta };
        const { answer } = await meanwhile(
          story,
          (tx) => sourceOf(kind).apply(story.t.app, tx, feed, page),
          () => leave(story.visitor),
          (tx) => lockFeed(tx, feed.id),
        );
        assert.ok((await answer).status < 300);
      });
    }

    test(`${way} while a run that judges its channel ends`, async () => {
      await using story = await anasMail({ push: true });
      const { drive } = await feedsOf(story);
      const { answer } = await meanwhile(
        story,
        (tx) => lockFeed(tx, drive.id),
        () => leave(story.visitor),
        (tx) => sql`update watches set missed = 1 where feed_id = ${drive.id}`.execute(tx),
      );
      assert.ok((await answer).status < 300);
    });

    test(`${way} while looks at its feeds are brought forward`, async () => {
      await using story = await anasMail();
      const { t, visitor } = story;
      t.google.calendar.addEvent("ana@example.com", eventIn(t, 3));
      const { calendar, drive } = await feedsOf(story);
      await visitor.call("POST", `/api/v1/sync/feeds/${calendar.id}/sync?wait=true`, {});
      await t.idle();
      const later = new Date(t.clock.now().getTime() + 3_600_000);
      await t.app.db.updateTable("feeds").set({ due_at: later }).execute();
      // By its id it comes before the calendar.
      await sql`delete from sync_runs`.execute(t.app.db);
      await sql`
        update feeds set id = '00000000-0000-4000-8000-000000000000' where id = ${drive.id}
      `.execute(t.app.db);
      const { answer, seen } = await meanwhile(
        story,
        (tx) => sql`select from calendar_events for key share`.execute(tx),
        () => leave(visitor),
        async () => {
          const seen = visitor.call("POST", "/api/v1/sync/record-activity", {
            activity_type: "general",
          });
          await until(async () => (await waitingFor(t)).length >= 2);
          return { seen };
        },
      );
      const [left, active] = await Promise.all([answer, seen]);
      assert.ok(left.status < 300, JSON.stringify(left.body));
      assert.notEqual(active.status, 503);
    });
  }

  test("can be connected anew while its user's time zone is learnt", async () => {
    await using story = await anasMail();
    const { visitor } = story;
    const { answer } = await meanwhile(
      story,
      // As a calendar does that is new.
      (tx) => sql`select from connections for key share`.execute(tx),
      () => visitor.connect("ana@example.com"),
      (tx) => sql`update users set time_zone = 'Europe/Madrid'`.execute(tx),
    );
    assert.equal(await answer, "/connections");
  });

  test("goes with its user while its calendars are found", async () => {
    await using story = await anasMail();
    const { t, visitor } = story;
    const { calendar_list: feed } = await feedsOf(story);
    await sql`delete from feeds where kind = 'calendar'`.execute(t.app.db);
    const google = openGoogleAccess(t.app, feed.connection_id).request;
    const page = { changes: (await listCalendars(google, {})).changes, position: delta };
    const { answer } = await meanwhile(
      story,
      (tx) => sourceOf("calendar_list").apply(t.app, tx, feed, page),
      () => visitor.call("DELETE", "/api/v1/me"),
      (tx) => lockFeed(tx, feed.id),
    );
    assert.equal((await answer).status, 204);
  });
});

describe("an export of a large account", () => {
  const usual = { ...exportLimits };
  const rows = 5_000;
  let t: TestApp;
  let ana: Visitor;
  let priya: Visitor;
  let jonas: Visitor;
  before(async () => {
    t = await openTestApp({ workers: false });
    ana = await t.signIn("ana@example.com");
    priya = await t.signIn("priya@example.com");
    jonas = await t.signIn("jonas.weber@example.com");
    // More than all buffers on the way hold.
    for (const { userId } of [ana, priya]) await addNews(userId, rows);
  });
  after(() => t[Symbol.asyncDispose]());
  afterEach(() => Object.assign(exportLimits, usual));

  const addNews = (userId: string, count: number) =>
    sql`
      insert into user_events (user_id, type, payload)
      select ${userId}::uuid, 'x', jsonb_build_object('t', repeat('x', 4000)) from generate_series(1, ${count}::int)
    `.execute(t.app.db);
  const start = (visitor: Visitor) =>
    fetch(`${t.url}/api/v1/me/export`, { headers: { cookie: visitor.cookie } });
  const startUnread = ({ cookie }: Visitor): Socket => {
    const socket = connect(Number(new URL(t.url).port), "127.0.0.1");
    socket.on("error", () => {});
    socket.pause();
    socket.write(`GET /api/v1/me/export HTTP/1.1\r\nhost: x\r\ncookie: ${cookie}\r\n\r\n`);
    return socket;
  };
  const openTransactions = async () => {
    const { rows } = await sql<{ count: number }>`
      select count(*)::int as count from pg_stat_activity
      where datname = current_database() and xact_start is not null and query like '%user_rows%'
        and pid <> pg_backend_pid()
    `.execute(t.app.db);
    return rows[0]!.count;
  };

  test("is one picture, whatever is added while it is read", async () => {
    const answer = await start(ana);
    await addNews(ana.userId, 100);
    const lines = (await answer.text()).trimEnd().split("\n");
    const news = lines.filter((line) => JSON.parse(line).table === "user_events");
    const before = news.filter((line) => JSON.parse(line).row.type === "x");
    assert.equal(before.length, rows);
  });

  test("that nobody reads leaves connections to everybody else, and ends", async () => {
    const unread = Array.from({ length: 6 }, () => [ana, priya].map(startUnread)).flat();
    try {
      await until(async () => (await openTransactions()) >= 2);
      const answers = await Promise.all(
        Array.from({ length: 20 }, () => jonas.call("GET", "/api/v1/me")),
      );
      assert.deepEqual([...new Set(answers.map(({ status }) => status))], [200]);
      assert.equal(await openTransactions(), 2);
      const again = await ana.call("GET", "/api/v1/me/export");
      const further = await jonas.call("GET", "/api/v1/me/export");
      assert.deepEqual([again.status, further.status], [429, 503]);
      for (const { headers } of [again, further]) assert.equal(headers.get("retry-after"), "30");
    } finally {
      for (const socket of unread) socket.destroy();
    }
    await until(async () => (await openTransactions()) === 0);
    assert.equal((await jonas.call("GET", "/api/v1/me/export")).status, 200);
  });

  test("is the only one of its user in all processes together", async () => {
    await using other = await openTestApp({ database: t.database, workers: false });
    const exportThere = ({ cookie }: Visitor) =>
      fetch(`${other.url}/api/v1/me/export`, { headers: { cookie } });
    const socket = startUnread(ana);
    try {
      await until(async () => (await openTransactions()) === 1);
      const refused = await exportThere(ana);
      assert.deepEqual([refused.status, refused.headers.get("retry-after")], [429, "30"]);
      const whole = await exportThere(jonas);
      assert.equal(whole.status, 200);
      await whole.text();
    } finally {
      socket.destroy();
    }
    await until(async () => (await openTransactions()) === 0);
    const whole = await exportThere(ana);
    assert.equal(whole.status, 200);
    await whole.text();
  });

  test("is cut off after a silence, and may be asked for again", async () => {
    exportLimits.silenceMs = 2_000;
    const socket = startUnread(ana);
    await until(async () => (await openTransactions()) === 1);
    await until(async () => (await openTransactions()) === 0, 20_000);
    socket.destroy();
    Object.assign(exportLimits, usual);
    assert.equal((await ana.call("GET", "/api/v1/me/export")).status, 200);
  });

  test("is cut off, for its reader to see, once it takes too long", async () => {
    exportLimits.longestMs = 700;
    const { body } = await start(ana);
    const reader = body!.getReader();
    await assert.rejects(async () => {
      for (;;) {
        const { done } = await reader.read();
        if (done) return;
        await sleep(20);
      }
    });
    await until(async () => (await openTransactions()) === 0);
    Object.assign(exportLimits, usual);
    assert.equal((await ana.call("GET", "/api/v1/me/export")).status, 200);
  });

  test("whose reader leaves, or asks for its head only, keeps nothing", async () => {
    const socket = startUnread(ana);
    await until(async () => (await openTransactions()) === 1);
    socket.destroy();
    await once(socket, "close");
    await until(async () => (await openTransactions()) === 0);
    const head = await fetch(`${t.url}/api/v1/me/export`, {
      method: "HEAD",
      headers: { cookie: ana.cookie },
    });
    assert.equal(head.status, 200);
    await until(async () => (await start(ana)).status === 200, 10_000);
  });
});
