import { classifyByRules, type DocumentFacts } from "../src/documents/classification-rules.ts";
import { mails, projects } from "./classifier-set.ts";

// `npm run bench:classifier`: how often the built-in rules put a mail where a person would (recall), how often they are
// right when they put it anywhere (precision), and how long a mail takes among many projects. A mail that is put nowhere
// waits for its owner; one that is put wrong is not noticed: precision matters more.

type Count = { right: number; wrong: number; missed: number };
const counts = new Map<string, Count>(
  projects.map(({ id }) => [id, { right: 0, wrong: 0, missed: 0 }]),
);
const mistakes: string[] = [];
const at = new Date("2027-03-01");

for (const [label, from, title, text] of mails) {
  const facts: DocumentFacts = { source: "gmail", title, text, people: [from], at };
  const { projectId, reason } = classifyByRules(facts, projects);
  if (projectId === label) {
    if (label) count(label, "right");
    continue;
  }
  if (projectId) count(projectId, "wrong");
  if (label) count(label, "missed");
  mistakes.push(`${title}: ${projectId ?? "none"} in place of ${label ?? "none"} (${reason})`);
}

console.log(
  `${mails.length} mails, ${mails.filter(([label]) => !label).length} of them in no project\n`,
);
for (const [id, one] of counts) line(id, one);
const all = [...counts.values()].reduce((sum, one) => ({
  right: sum.right + one.right,
  wrong: sum.wrong + one.wrong,
  missed: sum.missed + one.missed,
}));
line("all", all);
console.log(`\n${mistakes.map((one) => `  ${one}`).join("\n")}\n`);
for (const many of [10, 100, 1_000]) speed(many);

function count(id: string, what: keyof Count): void {
  const one = counts.get(id);
  if (one) one[what] += 1;
}

function line(name: string, { right, wrong, missed }: Count): void {
  const share = (part: number, whole: number) => (whole === 0 ? "–" : (part / whole).toFixed(2));
  console.log(
    `${name.padEnd(10)} precision ${share(right, right + wrong)}  recall ${share(right, right + missed)}`,
  );
}

// A long mail among many projects, as a ratio to reading its words once.
function speed(many: number): void {
  const among = Array.from({ length: many }, (_, index) => ({
    ...projects[index % projects.length],
    id: String(index),
    name: `Undertaking ${index}`,
  })) as typeof projects;
  const text = mails
    .map(([, , title, body]) => `${title}\n${body}`)
    .join("\n")
    .repeat(20);
  const facts: DocumentFacts = { source: "gmail", title: "Long", text, people: [], at };
  const reading = timed(() =>
    text
      .normalize("NFKD")
      .toLowerCase()
      .match(/[\p{L}\p{N}]+/gu),
  );
  const ruling = timed(() => classifyByRules(facts, among));
  console.log(
    `${many} projects, ${Math.round(text.length / 1000)} kB: ${ruling.toFixed(1)} ms, ${(ruling / reading).toFixed(1)} times reading its words`,
  );
}

function timed(act: () => unknown): number {
  const times = Array.from({ length: 15 }, () => {
    const startedMs = performance.now();
    act();
    return performance.now() - startedMs;
  }).sort((one, other) => one - other);
  return times[7] ?? 0;
}
