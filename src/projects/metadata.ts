import { z } from "zod";
import { fold } from "../lib/text.ts";

/** What its own fields are to a project, wherever they are described. */
export const projectTexts = {
  name: "What the project is called",
  description: "What the project is about",
  status: "Only what is `active` or `in_progress` gets documents by classification",
  notes: "What else is known of it; in a draft deliverables, dates, place and contacts together",
};

/** What a person says of a project in the onboarding form. Every word of it is data. */
export const ProjectSummary = z.strictObject({
  project_name: z.string().trim().min(1).max(200).describe(projectTexts.name),
  overview: z.string().trim().min(1).max(10_000),
  keywords: z.array(z.string().trim().min(1).max(100)).max(100).default([]),
  deliverables: z.string().trim().max(10_000).default(""),
  contacts: z
    .strictObject({
      internal_lead: z.string().trim().max(200).default(""),
      agency_lead: z.string().trim().max(200).default(""),
      client_lead: z.string().trim().max(200).default(""),
    })
    .default({ internal_lead: "", agency_lead: "", client_lead: "" }),
  shoot_date: z.string().trim().max(200).default(""),
  location: z.string().trim().max(500).default("").describe("Where it takes place, in any words"),
  references: z.string().trim().max(5_000).default(""),
});

export type ProjectSummary = z.infer<typeof ProjectSummary>;

const share = z.number().min(0).max(1);
const words = (most: number, longest = 100) =>
  z.array(z.string().trim().min(1).max(longest)).max(most);
const date = z.iso.date();

const Thresholds = z.strictObject({
  email: z.strictObject({ subject_match: share, content_match: share }).describe("For mails"),
  gdrive: z.strictObject({ filename_match: share, content_match: share }),
});

/** From which score on a title alone, or the whole document, speaks for a project. */
export type Thresholds = z.infer<typeof Thresholds>;

/** What classification works from, in the form that the tables keep. */
export const ProjectMetadata = z.strictObject({
  name: z.string().trim().min(1).max(200).describe(projectTexts.name),
  description: z.string().trim().max(10_000).describe(projectTexts.description),
  status: z
    .enum(["active", "in_progress", "archived"])
    .default("in_progress")
    .describe(projectTexts.status),
  notes: z.string().trim().max(20_000).describe(projectTexts.notes),
  normalized_tags: z
    .array(
      z
        .string()
        .max(100)
        .regex(/^[\p{Ll}\p{Lo}\p{N}]+(_[\p{Ll}\p{Lo}\p{N}]+)*$/u, "is not snake_case"),
    )
    .max(50),
  categories: words(20),
  reference_keywords: words(50),
  entity_patterns: z.strictObject({
    people: z.record(
      z.string().trim().min(1).max(200),
      z.strictObject({ role: z.string().trim().max(100) }),
    ),
    locations: words(20, 200),
    domains: z
      .array(
        z
          .string()
          .max(253)
          .regex(/^([a-z0-9-]+\.)+[a-z0-9-]{2,}$/, "is no domain in lower case"),
      )
      .max(50),
    project_codes: words(20),
  }),
  classification_signals: z.strictObject({
    temporal_relevance: z.strictObject({
      active_period: z
        .tuple([date, date])
        .refine(([from, to]) => from <= to, "ends before it begins")
        .nullable(),
    }),
    content_types: words(20),
    confidence_thresholds: Thresholds,
  }),
});

export type ProjectMetadata = z.infer<typeof ProjectMetadata>;

/** What a model is asked for: the parts that it may decide, in what strict structured outputs can say. */
export const Draft = z.strictObject({
  description: z.string().describe("Overview and deliverables in one description"),
  notes: z.string().describe("Overview, deliverables, dates, place and contacts together"),
  normalized_tags: z.array(z.string()).describe("The keywords, in lower case and snake_case"),
  categories: z.array(z.string()).describe("High-level kinds of work, such as Video Production"),
  reference_keywords: z.array(z.string()).describe("Key terms of the deliverables only"),
  entity_patterns: z.strictObject({
    people: z
      .array(z.strictObject({ name: z.string(), role: z.string() }))
      .describe("The contacts: role is internal_lead, agency_lead or client_lead"),
    locations: z.array(z.string()).describe("The parts of the location"),
    domains: z.array(z.string()).describe("Internet domains that the summary names"),
    project_codes: z
      .array(z.string())
      .describe("Codes or numbers that the summary gives the project"),
  }),
  classification_signals: z.strictObject({
    active_period: z
      .strictObject({ start: z.string(), end: z.string() })
      .nullable()
      .describe("Dates as YYYY-MM-DD, from the shoot date; null where it says none"),
    content_types: z.array(z.string()).describe("Kinds of documents, from the deliverables"),
    confidence_thresholds: z.strictObject({
      email: z.strictObject({ subject_match: z.number(), content_match: z.number() }),
      gdrive: z.strictObject({ filename_match: z.number(), content_match: z.number() }),
    }),
  }),
});

export type Draft = z.infer<typeof Draft>;

/** The draft's schema as strict structured outputs want it. */
export function draftSchema(): Record<string, unknown> {
  const { $schema: _, ...schema } = z.toJSONSchema(Draft);
  return schema;
}

/** Where a project's metadata says nothing usable. */
export const usualThresholds: Thresholds = {
  email: { subject_match: 0.7, content_match: 0.6 },
  gdrive: { filename_match: 0.8, content_match: 0.6 },
};

/**
 * Holds a model's draft against the summary that it was made from. What the schema cannot say is put right, and each
 * correction is told; names, places, domains and codes that the summary does not have are left out.
 */
export function reviewDraft(
  draft: Draft,
  summary: ProjectSummary,
): { metadata: ProjectMetadata; corrections: string[] } {
  const corrections: string[] = [];
  const said = textOf(summary);
  const isSaid = (word: string) => said.includes(foldWords(word));
  const only = (name: string, values: string[], keeps: (value: string) => boolean) => {
    const kept = values.filter(keeps);
    const left = values.filter((value) => !kept.includes(value));
    if (left.length > 0) corrections.push(`${name} not in the summary left out: ${shown(left)}`);
    return kept;
  };
  const tidy = (name: string, values: string[], { most, longest = 100 }: Bounds) => {
    const plain = values
      .map((value) => plainText(value))
      .filter((value) => value !== "" && value.length <= longest);
    const unique = [...new Map(plain.map((value) => [foldWords(value), value])).values()];
    if (unique.length > most)
      corrections.push(`only the first ${most} of ${unique.length} ${name} kept`);
    return unique.slice(0, most);
  };
  const tags = tagsOf(draft.normalized_tags, corrections);
  const entities = draft.entity_patterns;
  const { start, end } = draft.classification_signals.active_period ?? {};
  const metadata: ProjectMetadata = {
    name: summary.project_name,
    status: "in_progress",
    description: plainText(draft.description, true).slice(0, 10_000),
    notes: plainText(draft.notes, true).slice(0, 20_000),
    normalized_tags: tags.slice(0, 50),
    categories: tidy("categories", draft.categories, { most: 20 }),
    reference_keywords: tidy("reference keywords", draft.reference_keywords, { most: 50 }),
    entity_patterns: {
      people: peopleOf(entities.people, summary, corrections),
      locations: only(
        "locations",
        tidy("locations", entities.locations, { most: 20, longest: 200 }),
        isSaid,
      ),
      domains: only(
        "domains",
        tidy("domains", entities.domains, { most: 50, longest: 253 })
          .map((domain) => domain.toLowerCase().replace(/^@|\.$/g, ""))
          .filter((domain) => /^([a-z0-9-]+\.)+[a-z0-9-]{2,}$/.test(domain)),
        isSaid,
      ),
      project_codes: only(
        "project codes",
        tidy("project codes", entities.project_codes, { most: 20 }),
        isSaid,
      ),
    },
    classification_signals: {
      temporal_relevance: { active_period: periodOf(start, end, corrections) },
      content_types: tidy("content types", draft.classification_signals.content_types, {
        most: 20,
      }),
      confidence_thresholds: thresholdsOf(
        draft.classification_signals.confidence_thresholds,
        corrections,
      ),
    },
  };
  return { metadata, corrections };
}

type Bounds = { most: number; longest?: number };

function tagsOf(given: string[], corrections: string[]): string[] {
  const tags = given.map(tagOf).filter((tag) => tag !== "");
  const changed = given.filter((tag, index) => tag !== tagOf(given[index] ?? ""));
  if (changed.length > 0) corrections.push(`tags put into snake_case: ${shown(changed)}`);
  return [...new Set(tags)];
}

/** A keyword as a tag: lower case, words joined by underscores. */
function tagOf(text: string): string {
  return text
    .normalize("NFC")
    .replace(/(\p{Ll})(\p{Lu})/gu, "$1 $2")
    .toLowerCase()
    .replace(/[^\p{L}\p{N}]+/gu, "_")
    .replace(/^_+|_+$/g, "")
    .slice(0, 100)
    .replace(/_+$/, "");
}

const roles = ["internal_lead", "agency_lead", "client_lead"] as const;

// A person is who the form names in that role; a model that names others has made them up, or was told to.
function peopleOf(
  given: Draft["entity_patterns"]["people"],
  { contacts }: ProjectSummary,
  corrections: string[],
): ProjectMetadata["entity_patterns"]["people"] {
  const people = new Map<string, { role: string }>();
  for (const role of roles) if (contacts[role]) people.set(contacts[role], { role });
  const known = [...people.keys()].map(foldWords);
  const strangers = given.filter(({ name }) => !known.includes(foldWords(name)));
  if (strangers.length > 0) {
    corrections.push(
      `people not in the summary left out: ${shown(strangers.map(({ name }) => name))}`,
    );
  }
  return Object.fromEntries(people);
}

function periodOf(
  start: string | undefined,
  end: string | undefined,
  corrections: string[],
): [string, string] | null {
  if (start === undefined || end === undefined) return null;
  const [from, to] = [date.safeParse(start.trim()).data, date.safeParse(end.trim()).data];
  if (!from || !to) {
    corrections.push(`a period that is no pair of dates left out: ${shown([start, end])}`);
    return null;
  }
  if (from <= to) return [from, to];
  corrections.push("a period that ended before it began turned round");
  return [to, from];
}

function thresholdsOf(
  given: Draft["classification_signals"]["confidence_thresholds"],
  corrections: string[],
): Thresholds {
  const checked = Thresholds.safeParse(given);
  if (checked.success) return checked.data;
  corrections.push("thresholds that do not lie between 0 and 1 replaced by the usual ones");
  return usualThresholds;
}

/** What is wrong with metadata, field by field; nothing when it can be stored. */
export function metadataErrors(metadata: unknown): { path: string; message: string }[] {
  const checked = ProjectMetadata.safeParse(metadata);
  return checked.success
    ? []
    : checked.error.issues.map(({ path, message }) => ({ path: path.join("."), message }));
}

// On one line, without what could be taken for more than text.
function plainText(text: string, keepsLines = false): string {
  const clean = text.toWellFormed().replace(keepsLines ? /[^\P{C}\n]/gu : /\p{C}+/gu, " ");
  return (keepsLines ? clean.replace(/\n{3,}/g, "\n\n") : clean.replace(/\s+/g, " ")).trim();
}

function textOf(summary: ProjectSummary): string {
  const { keywords, contacts, ...texts } = summary;
  return foldWords([...Object.values(texts), ...keywords, ...Object.values(contacts)].join("\n"));
}

function foldWords(text: string): string {
  return fold(text).replace(/\s+/g, " ").trim();
}

function shown(values: string[]): string {
  return values
    .slice(0, 5)
    .map((value) => `“${plainText(value).slice(0, 60)}”`)
    .join(", ");
}
