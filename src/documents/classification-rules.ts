import { fold } from "../lib/text.ts";
import type { Thresholds } from "../projects/metadata.ts";

/** What the rules look at in a document. */
export type DocumentFacts = {
  /** `gmail` is held to a project's thresholds for mail, everything else to those for files. */
  source: string;
  title: string;
  text: string;
  /** Authors and recipients as they are written: names, addresses, or both. */
  people: string[];
  at: Date | null;
};

/** What a project is known by. Anything may be missing: older metadata has other forms. */
export type ProjectFacts = {
  id: string;
  name: string;
  tags: string[];
  keywords: string[];
  people: string[];
  locations: string[];
  domains: string[];
  codes: string[];
  activePeriod: [string, string] | null;
  thresholds: Thresholds;
};

/** Why a document seems to belong to a project. */
export type Sign = { kind: Kind; value: string };

export type Ruling = {
  projectId: string | null;
  /** Between 0 and 1. */
  confidence: number;
  because: Sign[];
  /** In words. */
  reason: string;
};

type Kind = "project code" | "domain" | "person" | "name" | "tag" | "keyword" | "location";
type Found = Sign & { weight: number; isInTitle: boolean };

// How much a sign says by itself, in the title and elsewhere. Several add up as independent witnesses do.
const weights: Record<Kind, { title: number; elsewhere: number }> = {
  "project code": { title: 0.95, elsewhere: 0.85 },
  domain: { title: 0.7, elsewhere: 0.7 },
  name: { title: 0.8, elsewhere: 0.65 },
  person: { title: 0.45, elsewhere: 0.45 },
  tag: { title: 0.65, elsewhere: 0.45 },
  keyword: { title: 0.65, elsewhere: 0.45 },
  location: { title: 0.35, elsewhere: 0.3 },
};
// One word is more often a coincidence than a phrase is.
const singleWordShare = 0.7;
const outOfSeasonShare = 0.75;
const seasonMarginMs = 60 * 86_400_000;
// Two projects that are as near as this cannot be told apart.
const margin = 0.05;
const longestText = 200_000;

/**
 * Finds the project that a document belongs to, by what it names of each: people, domains, codes, tags, keywords, places
 * and the project itself, weighed by how many of the projects share the sign. None where nothing reaches a project's own
 * threshold, or where two are as near.
 */
export function classifyByRules(document: DocumentFacts, projects: ProjectFacts[]): Ruling {
  const words = wordsOf(document);
  const shared = countShared(projects);
  const scored = projects
    .map((project) => score(document, words, project, shared))
    .sort((one, other) => other.content - one.content);
  const [best, next] = scored;
  if (!best || best.content === 0) return none("It names nothing of any project");
  const because = best.found
    .sort((one, other) => other.weight - one.weight)
    .slice(0, 6)
    .map(({ kind, value }) => ({ kind, value }));
  const named = because.map(({ kind, value }) => `${kind} ${value}`).join(", ");
  if (!best.passes) {
    return none(`Too little speaks for ${best.project.name}: ${named}`, best.content, because);
  }
  if (next?.passes && best.content - next.content < margin) {
    const names = `${best.project.name} and ${next.project.name}`;
    return none(`It is as near to one as to the other of ${names}`, best.content, because);
  }
  const confidence = Math.round(best.content * 100) / 100;
  return { projectId: best.project.id, confidence, because, reason: `Because: ${named}` };
}

const none = (reason: string, content = 0, because: Sign[] = []): Ruling => ({
  projectId: null,
  confidence: Math.round(content * 100) / 100,
  because,
  reason,
});

type Words = {
  title: string;
  all: string;
  people: string;
  domains: string[];
  /** Every single word, so that most phrases are ruled out without searching the text. */
  vocabulary: Set<string>;
};

function wordsOf({ title, text, people }: DocumentFacts): Words {
  const all = tokens(`${title}\n${text.slice(0, longestText)}`);
  const named = tokens(people.join("\n"));
  return {
    title: tokens(title),
    all,
    people: named,
    vocabulary: new Set(`${all}${named}`.split(" ")),
    domains: people.flatMap(
      (person) => /@([\w.-]+)/.exec(person)?.[1]?.toLowerCase().replace(/\.$/, "") ?? [],
    ),
  };
}

// Words between blanks, so that a phrase is found by one comparison: without case, accents, and the s of a plural.
function tokens(text: string): string {
  const words = fold(text).match(/[\p{L}\p{N}]+/gu) ?? [];
  return ` ${words.map((word) => (word.length > 3 ? word.replace(/s$/, "") : word)).join(" ")} `;
}

function signsOf(project: ProjectFacts): Sign[] {
  const all = (kind: Kind, values: string[]) => values.map((value) => ({ kind, value }));
  return [
    ...all("project code", project.codes),
    ...all("domain", project.domains),
    ...all("name", [project.name]),
    ...all("person", project.people),
    ...all("tag", project.tags),
    ...all("keyword", project.keywords),
    ...all("location", project.locations),
  ];
}

const keyOf = ({ kind, value }: Sign) => `${kind}\n${fold(value)}`;

function countShared(projects: ProjectFacts[]): Map<string, number> {
  const counts = new Map<string, number>();
  for (const project of projects) {
    for (const key of new Set(signsOf(project).map(keyOf)))
      counts.set(key, (counts.get(key) ?? 0) + 1);
  }
  return counts;
}

function score(
  document: DocumentFacts,
  words: Words,
  project: ProjectFacts,
  shared: Map<string, number>,
) {
  const seen = new Set<string>();
  const found = signsOf(project).flatMap((sign): Found[] => {
    // The same words as name, tag and keyword are one sign.
    const phrase = tokens(sign.value.replaceAll("_", " "));
    const place = placeOf(sign, phrase, words);
    if (place === null || seen.has(phrase)) return [];
    seen.add(phrase);
    const isSingle = phrase.trim().split(" ").length === 1;
    const isWeak = isSingle && ["name", "tag", "keyword"].includes(sign.kind);
    const isInTitle = place === "title";
    const weight =
      weights[sign.kind][isInTitle ? "title" : "elsewhere"] *
      (isWeak ? singleWordShare : 1) *
      (1 / Math.sqrt(shared.get(keyOf(sign)) ?? 1));
    return [{ ...sign, weight, isInTitle }];
  });
  const season = isInSeason(document.at, project.activePeriod) ? 1 : outOfSeasonShare;
  const title = together(found.filter(({ isInTitle }) => isInTitle)) * season;
  const content = together(found) * season;
  const { email, gdrive } = project.thresholds;
  const passes =
    document.source === "gmail"
      ? title >= email.subject_match || content >= email.content_match
      : title >= gdrive.filename_match || content >= gdrive.content_match;
  return { project, found, content, passes };
}

function placeOf(sign: Sign, phrase: string, words: Words): "title" | "elsewhere" | null {
  if (sign.kind === "domain") {
    const domain = sign.value.toLowerCase();
    const isTheirs = words.domains.some((one) => one === domain || one.endsWith(`.${domain}`));
    return isTheirs || words.all.includes(phrase) ? "elsewhere" : null;
  }
  if (phrase.trim() === "") return null;
  if (sign.kind === "project code") {
    const code = codePattern(phrase);
    if (code.test(words.title)) return "title";
    return code.test(words.all) ? "elsewhere" : null;
  }
  if (!phrase.split(" ").every((word) => words.vocabulary.has(word))) return null;
  if (words.title.includes(phrase)) return "title";
  const isNamed =
    words.all.includes(phrase) || (sign.kind === "person" && words.people.includes(phrase));
  return isNamed ? "elsewhere" : null;
}

// AF-2027 is also written AF2027 and af 2027.
function codePattern(phrase: string): RegExp {
  return new RegExp(` ${phrase.match(/\p{L}+|\p{N}+/gu)?.join(" ?")} `, "u");
}

function together(found: Found[]): number {
  return 1 - found.reduce((doubt, { weight }) => doubt * (1 - weight), 1);
}

function isInSeason(at: Date | null, period: [string, string] | null): boolean {
  if (!at || !period) return true;
  const [from, to] = period.map((date) => Date.parse(date));
  if (from === undefined || to === undefined || Number.isNaN(from + to)) return true;
  return at.getTime() >= from - seasonMarginMs && at.getTime() <= to + seasonMarginMs;
}
