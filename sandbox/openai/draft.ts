import { z } from "zod";

const text = z.string().catch("");
const Summary = z
  .looseObject({
    project_name: text,
    overview: text,
    keywords: z.array(z.string()).catch([]),
    deliverables: text,
    contacts: z.record(z.string(), z.string()).catch({}),
    shoot_date: text,
    location: text,
    references: text,
  })
  .catch({
    ...{ project_name: "", overview: "", keywords: [], deliverables: "", contacts: {} },
    ...{ shoot_date: "", location: "", references: "" },
  });

/** What the sandbox drafts from a summary: words of it, sorted by simple rules. */
export function draftOf(data: string): Record<string, unknown> {
  const summary = Summary.parse(parsed(data));
  const everything = Object.values(summary).map(String).join(" ");
  const items = (given: string) =>
    given
      .split(/[,;\n]|\band\b/)
      .map((part) => part.trim())
      .filter(Boolean);
  const dates = everything.match(/\d{4}-\d\d-\d\d/g) ?? [];
  const [start, end = start] = [...dates].sort();
  return {
    description: `${summary.overview} ${summary.deliverables}`.trim(),
    notes: `Drafted by the sandbox, which is no model. ${summary.overview} ${summary.deliverables} ${summary.shoot_date} ${summary.location}`,
    normalized_tags: summary.keywords.map((word) => word.toLowerCase().replace(/\W+/g, "_")),
    categories: /video|film|shoot/i.test(everything) ? ["Video Production"] : ["Project"],
    reference_keywords: items(summary.deliverables),
    entity_patterns: {
      people: Object.entries(summary.contacts).flatMap(([role, name]) =>
        name ? [{ name, role }] : [],
      ),
      locations: items(summary.location),
      domains: everything.match(/\b[a-z0-9-]+(?:\.[a-z0-9-]+)*\.[a-z]{2,}\b/gi) ?? [],
      project_codes: everything.match(/\b[A-Z]{2,}-\d+\b/g) ?? [],
    },
    classification_signals: {
      active_period: start && end ? { start, end } : null,
      content_types: items(summary.deliverables).map((item) => item.split(" ").at(-1) ?? item),
      confidence_thresholds: {
        email: { subject_match: 0.7, content_match: 0.6 },
        gdrive: { filename_match: 0.8, content_match: 0.6 },
      },
    },
  };
}

function parsed(data: string): unknown {
  try {
    return JSON.parse(data);
  } catch {
    return {};
  }
}
