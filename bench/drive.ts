import { sql } from "kysely";
import type { State } from "../sandbox/google/state.ts";
import { openTestApp, type TestApp } from "../test/harness.ts";

// `npm run bench:drive`: 50 users who follow 100 files each: what an hour costs at Google, quiet and busy, by push and by
// polling; and how long a first list of 100,000 files takes.

const users = Number(process.env.BENCH_USERS ?? 50);
const filesEach = 100;
const many = Number(process.env.BENCH_FILES ?? 100_000);
// What the calls cost of Drive's quota. Source: Drive API, "Usage limits", 2026.
const units: Record<string, number> = { list: 100, getStartPageToken: 5, download: 200, watch: 5 };

for (const push of [true, false]) await hours(push);
await firstList();
process.exit();

async function hours(push: boolean): Promise<void> {
  const people = Array.from({ length: users }, (_, index) => `user${index}@example.com`);
  await using t = await openTestApp({ push });
  addPeople(t.google.state, people);
  const followed: string[][] = [];
  for (const person of people) {
    const visitor = await t.signIn(person);
    const folder = t.google.drive.addFolder(person, "Work");
    followed.push(
      t.google.drive.addFiles(
        person,
        Array.from({ length: filesEach }, (_, index) => ({
          name: `${index}.txt`,
          content: `${person} ${index}`,
          parentId: folder,
        })),
      ),
    );
    await t.idle();
    await visitor.call("POST", "/api/v1/drive/subscribe", { file_id: folder });
    await t.idle();
  }
  const { count } = await t.app.db
    .selectFrom("watched_files")
    .select((row) => row.fn.countAll<string>().as("count"))
    .where("is_folder", "=", false)
    .executeTakeFirstOrThrow();
  const way = push ? "by push" : "by polling";
  await measure(t, `${count} files of ${users} users, a quiet hour ${way}`, () => anHour(t));
  await measure(t, `the same with 1 % of the files edited ${way}`, async () => {
    for (const ids of followed)
      for (const id of ids.slice(0, filesEach / 100)) t.google.drive.edit(id, "new");
    await anHour(t);
  });
}

async function anHour(t: TestApp): Promise<void> {
  for (let minute = 0; minute < 60; minute += 10) {
    await t.idle();
    t.clock.advance(10 * 60_000);
  }
  await t.idle();
}

async function firstList(): Promise<void> {
  const [person] = ["ana@example.com"];
  await using t = await openTestApp();
  t.google.drive.addFiles(
    person,
    Array.from({ length: many }, (_, index) => ({ name: `${index}.txt`, content: "x" })),
  );
  await measure(t, `a first list of ${many} files`, async () => {
    const visitor = await t.signIn(person);
    for (const until = Date.now() + 600_000; Date.now() < until; ) {
      const { rows } = await sql<{ done: boolean }>`
        select last_success_at is not null as done from feeds where kind = 'drive' and user_id = ${visitor.userId}
      `.execute(t.app.db);
      if (rows[0]?.done) break;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  });
}

async function measure(t: TestApp, what: string, act: () => Promise<unknown>): Promise<void> {
  t.google.state.requests.length = 0;
  const startedMs = performance.now();
  await act();
  const seconds = (performance.now() - startedMs) / 1_000;
  const asked = t.google.state.requests.filter(({ endpoint }) => endpoint.startsWith("drive."));
  const byName = Map.groupBy(asked, ({ endpoint }) => endpoint.split(".").at(-1) ?? "");
  const cost = asked.reduce(
    (sum, { endpoint }) => sum + (units[endpoint.split(".").at(-1) ?? ""] ?? 5),
    0,
  );
  const parts = [...byName].map(([name, ones]) => `${ones.length} ${name}`).join(", ");
  console.log(
    `${what}: ${asked.length} calls (${parts || "none"}), ${cost} units, ${seconds.toFixed(1)} s here`,
  );
}

function addPeople(state: State, people: string[]): void {
  const [like] = state.people;
  if (!like) return;
  for (const [index, email] of people.entries())
    state.people.push({ ...like, sub: `1${String(index).padStart(20, "0")}`, email, name: email });
}
