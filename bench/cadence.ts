import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { bayesian } from "./cadence/bayesian.ts";
import { draw } from "./cadence/picture.ts";
import { backOff, every, oldRule, oracle, type Push } from "./cadence/policies.ts";
import {
  costOf,
  meanOf,
  type Outcome,
  peakOf,
  shareOf,
  simulate,
  together,
} from "./cadence/simulate.ts";
import {
  afterWarmUp,
  kinds,
  type Making,
  oldRules,
  openStage,
  oraclesCost,
  priceFor,
  type Span,
  type Stage,
  seedOf,
} from "./cadence/stage.ts";
import {
  makeSessions,
  type populations,
  type SimulatedKind,
  steadyWorld,
} from "./cadence/world.ts";

// `npm run bench:cadence`: the product's own rule for when to look next beside fixed schedules, the old rule, exponential
// back-off, and an oracle that knows each feed's true intensity. Costs are ratios to the oracle's. BENCH_USERS, BENCH_DAYS,
// BENCH_SEEDS ("1,2") and BENCH_POPULATIONS ("usual,quiet,busy,swift,unlike") change what is played.

const users = Number(process.env.BENCH_USERS ?? 20);
const days = Number(process.env.BENCH_DAYS ?? 28);
const seeds = (process.env.BENCH_SEEDS ?? "1").split(",").map(Number);
const names = (process.env.BENCH_POPULATIONS ?? "usual,quiet,busy,swift,unlike").split(
  ",",
) as (keyof typeof populations)[];
const prices = [10, 60, 300];
const crons: Record<SimulatedKind, number> = { calendar: 10, gmail: 5, drive: 15 };
const good: Push = { loss: 0.01, deathsPerDay: 1 / 60, delaySeconds: 3.5 };
const dying: Push = { ...good, deathsPerDay: 1 };

prove();
for (const name of names) {
  for (const seed of name === "usual" ? seeds : seeds.slice(0, 1)) {
    const stage = openStage(name, { seed, users, days });
    console.log(`\n== Population "${name}", seed ${seed}: ${users} users, ${days} days`);
    ratios(stage);
    if (name !== "usual") continue;
    besideTheTable(stage);
    atTheirWait(stage);
    besideOldPush(stage);
    if (seed !== seeds[0]) continue;
    atTheScreen(stage);
    decisions(stage);
    picture(stage);
  }
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
  const around = [0.7, 1, 1.4].map((factor) =>
    (costOf(at(best * factor), price) / knowing).toFixed(3),
  );
  console.log(
    `Proof on a steady feed: mean wait / (T/2) = ${wait.toFixed(3)}; cost at 0.7, 1 and 1.4 of the best interval / oracle's = ${around.join(", ")}`,
  );
}

function ratios(stage: Stage): void {
  console.log("Cost over the oracle's, at prices 10, 60, 300 (wanted: at most)");
  const start = { fromDay: 0, untilDay: 3 };
  const rows: [string, Push | null, Span, number][] = [
    ["polling only", null, afterWarmUp, 1.1],
    ["push, 1 % lost", good, afterWarmUp, 1.15],
    ["push that dies daily", dying, afterWarmUp, 1.2],
    ["cold start, polling, three days", null, start, 1.5],
    ["cold start, push, three days", good, start, 1.5],
  ];
  for (const [what, push, span, wanted] of rows) {
    const cost = (kind: SimulatedKind, price: number) =>
      costOf(stage.ours(kind, price, push, span), price);
    showRatios(stage, `${what} (${wanted})`, { push, span, cost });
  }
  const best = (kind: SimulatedKind, price: number) =>
    costOf(
      stage.run(kind, (world) => bayesian(world, stage.population, price, stage.seed), null),
      price,
    );
  showRatios(stage, "polling, the best by itself", { push: null, span: afterWarmUp, cost: best });
}

type Ratio = {
  push: Push | null;
  span: Span;
  cost: (kind: SimulatedKind, price: number) => number;
};

function showRatios(stage: Stage, what: string, { push, span, cost }: Ratio): void {
  const shown = kinds.map((kind) => {
    const ofPrices = prices.map((price) =>
      (cost(kind, price) / oraclesCost(stage, kind, price, push, span)).toFixed(3),
    );
    return `${kind} ${ofPrices.join(" ")}`;
  });
  console.log(`  ${what.padEnd(39)} ${shown.join("   ")}`);
}

function besideTheTable(stage: Stage): void {
  for (const kind of kinds) {
    console.log(`${kind}, polling only`);
    const policies: [string, Making][] = [
      [`every ${crons[kind]} min`, () => every(crons[kind])],
      ["old rule, per feed", () => oldRule()],
      ["exponential back-off", () => backOff()],
      ["Daybook, price 60", stage.daybook(kind, 60, null)],
      ["oracle, price 60", (world) => oracle(world, 60, null)],
    ];
    for (const [name, make] of policies) show(name, stage.run(kind, make, null));
    console.log(`${kind}, push, 1 % lost`);
    show("Daybook, price 20", stage.ours(kind, 20, good));
    show(
      "oracle, price 20",
      stage.run(kind, (world) => oracle(world, 20, good), good),
    );
  }
}

function show(name: string, outcome: Outcome, more = ""): void {
  const { calls, waits, days: total } = outcome;
  const minutes = (seconds: number) => (seconds / 60).toFixed(2).padStart(6);
  const shares = [0.5, 0.95, 0.99].map((share) => minutes(shareOf(waits, share)));
  console.log(
    `  ${name.padEnd(24)} ${(calls / total).toFixed(1).padStart(6)} calls a day, ${(calls / waits.length).toFixed(1).padStart(5)} a change; waits, min: mean ${minutes(meanOf(waits))}, median ${shares[0]}, p95 ${shares[1]}, p99 ${shares[2]}${more}`,
  );
}

function atTheirWait(stage: Stage): void {
  console.log(
    "At the mean wait of a fixed schedule, calls as a share of its calls (wanted: 40 % for calendar and drive)",
  );
  for (const kind of kinds) {
    const theirs = stage.run(kind, () => every(crons[kind]), null);
    const share = (make: (price: number) => Making) => {
      const { price, outcome } = priceFor(meanOf(theirs.waits), (one) =>
        stage.run(kind, make(one), null),
      );
      return `${((100 * outcome.calls) / theirs.calls).toFixed(1)} % (price ${price.toFixed(0)})`;
    };
    const ours = share((price) => stage.daybook(kind, price, null));
    console.log(
      `  ${kind.padEnd(10)} Daybook ${ours}, oracle ${share((price) => (world) => oracle(world, price, null))}`,
    );
  }
}

function besideOldPush(stage: Stage): void {
  console.log(
    "With push, beside the old rule (of all feeds of a user together) with push (wanted: 15 % of its calls at twice its mean wait, calendar and drive)",
  );
  const old = oldRules(stage, good);
  for (const kind of kinds) {
    const theirs = old[kind];
    const wait = meanOf(theirs.waits);
    const at = (price: number) => stage.ours(kind, price, good);
    const told = (outcome: Outcome) =>
      `${((100 * outcome.calls * theirs.days) / (outcome.days * theirs.calls)).toFixed(1)} % at ${(meanOf(outcome.waits) / wait).toFixed(2)} times the wait`;
    const { price, outcome } = priceFor(2 * wait, at);
    const best = priceFor(2 * wait, (one) =>
      stage.run(kind, (world) => oracle(world, one, good), good),
    ).outcome;
    console.log(
      `  ${kind.padEnd(10)} old ${(theirs.calls / theirs.days).toFixed(0)} calls a day, ${wait.toFixed(0)} s; price 20: ${told(at(20))}; price ${price.toFixed(0)}: ${told(outcome)}; oracle: ${told(best)}`,
    );
  }
}

// People come several times a day, and look at what is there.
function atTheScreen(stage: Stage): void {
  console.log(`With people at the screen, all feeds of ${users} users`);
  const sessions = Array.from({ length: users }, (_, user) =>
    makeSessions(seedOf(stage.seed, user), days),
  );
  const all = (make: (kind: SimulatedKind) => Making, push: Push | null) =>
    together(
      kinds.flatMap((kind) =>
        stage.worlds[kind].map((world, user) =>
          simulate(world, make(kind)(world, user), {
            push,
            seed: seedOf(stage.seed, user),
            sessions: sessions[user] ?? [],
            ...afterWarmUp,
          }),
        ),
      ),
    );
  const old = (push: Push | null) => together(Object.values(oldRules(stage, push, true)));
  const ours = (price: number, push: Push | null) => (kind: SimulatedKind) =>
    stage.daybook(kind, price, push);
  const rows: [string, Outcome][] = [
    ["crons", all((kind) => () => every(crons[kind]), null)],
    ["old rule, per user", old(null)],
    ["exponential back-off", all(() => () => backOff(), null)],
    ["Daybook, price 60", all(ours(60, null), null)],
    ["Daybook, price 300", all(ours(300, null), null)],
    ["old rule and push", old(good)],
    ["Daybook, push, price 60", all(ours(60, good), good)],
    ["Daybook, push, price 300", all(ours(300, good), good)],
  ];
  for (const [name, outcome] of rows) {
    const stale = ((100 * outcome.staleViews) / outcome.views).toFixed(1);
    show(
      name,
      outcome,
      `; stale at the screen ${stale} %; at most ${peakOf(outcome)} calls a minute`,
    );
  }
}

function decisions({ worlds, daybook }: Stage): void {
  const [world] = worlds.drive;
  if (!world) return;
  const policy = daybook("drive", 60, null)(world, 0);
  let at = 0;
  let looks = 0;
  const startedMs = performance.now();
  for (; looks < 50_000; looks += 1) {
    const changes = looks % 3 === 0 ? [at - 1] : [];
    at += policy.next({
      at,
      changes,
      hasSpoken: false,
      announced: 0,
      missed: 0,
      channel: null,
      isActive: false,
    });
  }
  const microseconds = ((performance.now() - startedMs) * 1000) / looks;
  console.log(
    `A decision takes ${microseconds.toFixed(1)} µs (wanted: 50), its state ${JSON.stringify(policy.state?.()).length} bytes (wanted: 2048)`,
  );
}

function picture({ run, daybook }: Stage): void {
  const point = (make: Making, push: Push | null = null) => {
    const { calls, waits, days: total } = run("calendar", make, push);
    return [calls / total, meanOf(waits) / 60] as const;
  };
  const sweep = [10, 20, 40, 60, 120, 300, 600, 1_200];
  const svg = draw("How long a calendar's change waits, by calls", [
    {
      name: "fixed schedules",
      colour: { light: "#7d8580", dark: "#9aa39d" },
      points: [2, 5, 10, 15, 30, 60].map((minutes) => point(() => every(minutes))),
    },
    {
      name: "old rule",
      colour: { light: "#a33b2e", dark: "#e88575" },
      points: [point(() => oldRule())],
    },
    {
      name: "back-off",
      colour: { light: "#7a4fa3", dark: "#bb97de" },
      points: [point(() => backOff())],
    },
    {
      name: "Daybook",
      colour: { light: "#1f6f54", dark: "#5cc9a1" },
      points: sweep.map((price) => point(daybook("calendar", price, null))),
    },
    {
      name: "oracle",
      colour: { light: "#b9770e", dark: "#e8b04b" },
      points: sweep.map((price) => point((world) => oracle(world, price, null))),
    },
    {
      name: "Daybook and push",
      colour: { light: "#2a5db0", dark: "#86aef0" },
      points: sweep.map((price) => point(daybook("calendar", price, good), good)),
    },
  ]);
  writeFileSync(join(import.meta.dirname, "..", "docs", "cadence.svg"), svg);
  console.log("The picture is in docs/cadence.svg");
}
