import { writeFileSync } from "node:fs";
import { join } from "node:path";
import {
  backOff,
  every,
  oldRule,
  oracle,
  type Policy,
  type Push,
  product,
} from "./cadence/policies.ts";
import {
  costOf,
  meanOf,
  type Outcome,
  shareOf,
  simulate,
  simulateOldRule,
  together,
} from "./cadence/simulate.ts";
import { makeWorld, type SimulatedKind, steadyWorld, type World } from "./cadence/world.ts";

// `npm run bench:cadence`: the product's own rule for when to look next beside fixed schedules, the old rule, exponential
// back-off, and an oracle that knows each feed's true intensity. Costs are ratios to the oracle's.

const users = Number(process.env.BENCH_USERS ?? 40);
const days = Number(process.env.BENCH_DAYS ?? 28);
const seed = Number(process.env.BENCH_SEED ?? 1);
const warmUp = 7;
const prices = [10, 60, 300];
const kinds: SimulatedKind[] = ["calendar", "gmail", "drive"];
const good: Push = { loss: 0.01, deathsPerDay: 1 / 60, delaySeconds: 3.5 };
const dying: Push = { loss: 0.01, deathsPerDay: 1, delaySeconds: 3.5 };

prove();
const worlds = new Map(
  kinds.map((kind) => [
    kind,
    Array.from({ length: users }, (_, user) => makeWorld(kind, seed * 1_000 + user * 7, { days })),
  ]),
);
for (const kind of kinds) compare(kind);
ratios("polling only", null, { fromDay: warmUp });
ratios("push, 1 % lost", good, { fromDay: warmUp });
ratios("push that dies daily", dying, { fromDay: warmUp });
ratios("cold start, polling, first three days", null, { fromDay: 0, untilDay: 3 });
atTheirWait();
besideOldPush();
decisions();
draw();

type Span = { fromDay: number; untilDay?: number };

function run(
  kind: SimulatedKind,
  make: (world: World) => Policy,
  push: Push | null,
  span: Span,
): Outcome {
  const outcomes = (worlds.get(kind) ?? []).map((world, user) =>
    simulate(world, make(world), { push, seed: seed + user, ...span }),
  );
  return together(outcomes);
}

// A steady feed looked at every T waits T/2, and is best looked at every sqrt(2 * price / rate).
function prove(): void {
  const [perDay, price] = [48, 60];
  const world = steadyWorld(perDay, 7, 4_000);
  const best = Math.sqrt((2 * price * 86_400) / perDay);
  const at = (seconds: number) => simulate(world, every(seconds / 60), { push: null, seed: 1 });
  const wait = meanOf(at(best).waits) / (best / 2);
  const knowing = costOf(
    simulate(world, oracle(world, price, null), { push: null, seed: 1 }),
    price,
  );
  const around = [0.7, 1, 1.4].map((factor) => costOf(at(best * factor), price) / knowing);
  console.log(
    `Proof: mean wait / (T/2) = ${wait.toFixed(3)}; cost at 0.7, 1 and 1.4 of the best interval / oracle's = ${around.map((one) => one.toFixed(3)).join(", ")}\n`,
  );
}

function compare(kind: SimulatedKind): void {
  const span = { fromDay: warmUp };
  const crons = { calendar: 10, gmail: 5, drive: 15 };
  console.log(`${kind}, polling only, ${users} users, ${days} days`);
  const policies: [string, (world: World) => Policy][] = [
    [`every ${crons[kind]} min`, () => every(crons[kind])],
    ["old 1/5/15 rule", () => oldRule(kind)],
    ["exponential back-off", () => backOff()],
    ["Daybook, price 60", (world) => product(world, 60)],
    ["oracle, price 60", (world) => oracle(world, 60, null)],
  ];
  for (const [name, make] of policies) show(name, run(kind, make, null, span));
  console.log(`${kind}, push, 1 % lost`);
  show(
    "Daybook, price 20",
    run(kind, (world) => product(world, 20), good, span),
  );
  show(
    "oracle, price 20",
    run(kind, (world) => oracle(world, 20, good), good, span),
  );
  console.log();
}

function show(name: string, { looks, waits, days: total }: Outcome): void {
  const minutes = (seconds: number) => (seconds / 60).toFixed(1).padStart(7);
  console.log(
    `  ${name.padEnd(22)} ${(looks / total).toFixed(1).padStart(7)} calls a day, waits: mean ${minutes(meanOf(waits))} min, median ${minutes(shareOf(waits, 0.5))}, p95 ${minutes(shareOf(waits, 0.95))}, p99 ${minutes(shareOf(waits, 0.99))}`,
  );
}

function ratios(what: string, push: Push | null, span: Span): void {
  console.log(`Cost over the oracle's: ${what}`);
  for (const kind of kinds) {
    const shown = prices.map((price) => {
      const ours = costOf(
        run(kind, (world) => product(world, price), push, span),
        price,
      );
      const best = costOf(
        run(kind, (world) => oracle(world, price, push), push, span),
        price,
      );
      return `${price}: ${(ours / best).toFixed(3)}`;
    });
    console.log(`  ${kind.padEnd(10)} ${shown.join("   ")}`);
  }
}

// The price at which our mean wait is that of the fixed schedule, and what that takes of its calls.
function atTheirWait(): void {
  console.log("At the mean wait of a fixed schedule, calls as a share of its calls");
  for (const [kind, minutes] of [
    ["calendar", 10],
    ["gmail", 5],
    ["drive", 15],
  ] as const) {
    const span = { fromDay: warmUp };
    const wanted = meanOf(run(kind, () => every(minutes), null, span).waits);
    const callsOf = (make: (price: number) => (world: World) => Policy) => {
      let [low, high] = [0.5, 10_000];
      for (let step = 0; step < 12; step += 1) {
        const middle = Math.sqrt(low * high);
        if (meanOf(run(kind, make(middle), null, span).waits) < wanted) low = middle;
        else high = middle;
      }
      const { looks, days: total } = run(kind, make(low), null, span);
      return looks / total;
    };
    const ours = callsOf((price) => (world) => product(world, price));
    const best = callsOf((price) => (world) => oracle(world, price, null));
    const share = (calls: number) => `${((100 * calls * minutes) / 1440).toFixed(0)} %`;
    console.log(`  ${kind.padEnd(10)} Daybook ${share(ours)}, oracle ${share(best)}`);
  }
}

function besideOldPush(): void {
  console.log(
    "With push, price 20, beside the old rule (of all feeds of a user together) with push",
  );
  const span = { fromDay: warmUp };
  const perUser = Array.from({ length: users }, (_, user) =>
    simulateOldRule(
      kinds.flatMap((kind) => worlds.get(kind)?.[user] ?? []),
      { push: good, seed: seed + user, ...span },
    ),
  );
  for (const [index, kind] of kinds.entries()) {
    const old = together(perUser.flatMap((ofUser) => ofUser[index] ?? []));
    const ours = run(kind, (world) => product(world, 20), good, span);
    console.log(
      `  ${kind.padEnd(10)} ${((100 * ours.looks) / old.looks).toFixed(0)} % of its ${(old.looks / old.days).toFixed(0)} calls a day at ${(meanOf(ours.waits) / meanOf(old.waits)).toFixed(1)} times its mean wait`,
    );
  }
}

function decisions(): void {
  const [world] = worlds.get("gmail") ?? [];
  if (!world) return;
  const policy = product(world, 60);
  let at = 0;
  let looks = 0;
  const startedMs = performance.now();
  for (; looks < 50_000; looks += 1) {
    at += policy.next({
      at,
      changes: looks % 3 === 0 ? [at - 1] : [],
      announced: 0,
      channel: null,
    });
  }
  const microseconds = ((performance.now() - startedMs) * 1000) / looks;
  console.log(`A decision takes ${microseconds.toFixed(1)} µs`);
}

// Calls against waiting, one line for each way to decide: what lies lower and further left is better.
function draw(): void {
  const span = { fromDay: warmUp };
  const point = ({ looks, waits, days: total }: Outcome) =>
    [looks / total, meanOf(waits) / 60] as const;
  const sweep = [10, 20, 40, 60, 120, 300, 600, 1_200];
  const lines: { name: string; colour: string; points: (readonly [number, number])[] }[] = [
    {
      name: "Daybook",
      colour: "#2f5d50",
      points: sweep.map((price) =>
        point(run("calendar", (world) => product(world, price), null, span)),
      ),
    },
    {
      name: "oracle",
      colour: "#b9770e",
      points: sweep.map((price) =>
        point(run("calendar", (world) => oracle(world, price, null), null, span)),
      ),
    },
    {
      name: "fixed schedules",
      colour: "#8b938e",
      points: [2, 5, 10, 15, 30, 60].map((minutes) =>
        point(run("calendar", () => every(minutes), null, span)),
      ),
    },
  ];
  const [width, height, edge] = [640, 420, 56];
  const all = lines.flatMap(({ points }) => points);
  const scale = (values: number[], length: number, isUp: boolean) => {
    const [low, high] = [Math.log(Math.min(...values)), Math.log(Math.max(...values))];
    return (value: number) => {
      const share = (Math.log(value) - low) / (high - low);
      return edge + (isUp ? 1 - share : share) * (length - 2 * edge);
    };
  };
  const x = scale(
    all.map(([calls]) => calls),
    width,
    false,
  );
  const y = scale(
    all.map(([, wait]) => wait),
    height,
    true,
  );
  const drawn = lines.map(({ name, colour, points }, index) => {
    const path = points
      .map(([calls, wait]) => `${x(calls).toFixed(1)},${y(wait).toFixed(1)}`)
      .join(" ");
    return `<polyline points="${path}" fill="none" stroke="${colour}" stroke-width="2"/><text x="${width - 190}" y="${edge + 20 * index}" fill="${colour}">${name}</text>`;
  });
  const ticks = [5, 10, 20, 50, 100, 200, 500]
    .filter((calls) => x(calls) >= edge && x(calls) <= width - edge)
    .map(
      (calls) =>
        `<text x="${x(calls).toFixed(1)}" y="${height - edge + 20}" text-anchor="middle">${calls}</text>`,
    );
  const marks = [0.5, 1, 2, 5, 10, 20, 30]
    .filter((wait) => y(wait) >= edge && y(wait) <= height - edge)
    .map(
      (wait) =>
        `<text x="${edge - 8}" y="${(y(wait) + 4).toFixed(1)}" text-anchor="end">${wait}</text>`,
    );
  const svg = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" font-family="system-ui, sans-serif" font-size="13"><title>Calls a day against mean waiting time</title><rect width="${width}" height="${height}" fill="#fff"/>
<text x="${edge}" y="28" font-size="15">Calendars by polling: how long a change waits, by calls a day</text>
<text x="${width / 2}" y="${height - 12}" text-anchor="middle">calls a day (log)</text><text x="14" y="${edge - 12}">mean wait, minutes (log)</text>
${[...drawn, ...ticks, ...marks].join("\n")}</svg>\n`;
  const path = join(import.meta.dirname, "..", "docs", "cadence.svg");
  writeFileSync(path, svg);
  console.log(`\nThe picture is in docs/cadence.svg`);
}
