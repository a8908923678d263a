import type { ReactNode } from "react";
import type { Metadata as Known, Project } from "./api.ts";

const date = new Intl.DateTimeFormat(undefined, { dateStyle: "long", timeZone: "UTC" });
const roles: Record<string, string> = {
  internal_lead: "leads it with us",
  agency_lead: "leads it at the agency",
  client_lead: "leads it at the client",
};

/** What a project is known by, for people to read. What is not known is left out. */
export function Metadata({ project }: { project: Project }) {
  const { entity_patterns: entities, classification_signals: signals, ...known } = knownOf(project);
  const period = signals.temporal_relevance.active_period;
  const { email, gdrive } = signals.confidence_thresholds;
  return (
    <>
      {known.description && <p className="text">{known.description}</p>}
      <dl className="facts">
        <Words name="Tags" words={known.normalized_tags} />
        <Words name="Categories" words={known.categories} />
        <Words name="Keywords" words={known.reference_keywords} />
        <Words name="Codes" words={entities.project_codes} />
        <Words name="Domains" words={entities.domains} />
        <Fact name="People">
          {Object.entries(entities.people).map(([name, { role }]) => (
            <div key={name}>
              {name} {role && <span className="faint">{roles[role] ?? role}</span>}
            </div>
          ))}
        </Fact>
        <Words name="Places" words={entities.locations} />
        <Fact name="Active">
          {period && `${date.format(new Date(period[0]))} to ${date.format(new Date(period[1]))}`}
        </Fact>
        <Words name="Kinds of documents" words={signals.content_types} />
        <Fact name="Sure enough">
          A mail’s subject from {percent(email.subject_match)}, its text from{" "}
          {percent(email.content_match)}; a file’s name from {percent(gdrive.filename_match)}, its
          text from {percent(gdrive.content_match)}
        </Fact>
      </dl>
      {known.notes && (
        <details>
          <summary>Notes</summary>
          <p className="text faint">{known.notes}</p>
        </details>
      )}
    </>
  );
}

function Fact({ name, children }: { name: string; children: ReactNode }) {
  const isEmpty = !children || (Array.isArray(children) && children.length === 0);
  if (isEmpty) return null;
  return (
    <>
      <dt>{name}</dt>
      <dd>{children}</dd>
    </>
  );
}

function Words({ name, words }: { name: string; words: string[] }) {
  return (
    <Fact name={name}>
      {words.map((word) => (
        <span key={word} className="badge">
          {word}
        </span>
      ))}
    </Fact>
  );
}

const percent = (share: number) => `${Math.round(share * 100)} %`;

/** What is known of a project, in one form: metadata of years has others, and what has another counts as missing. */
export function knownOf(project: Project): Known {
  const { name, description, notes, normalized_tags, categories, reference_keywords } = project;
  const entities = recordOf(project.entity_patterns);
  const signals = recordOf(project.classification_signals);
  const thresholds = recordOf(signals.confidence_thresholds);
  const email = recordOf(thresholds.email);
  const gdrive = recordOf(thresholds.gdrive);
  const [from, to] = wordsOf(recordOf(signals.temporal_relevance).active_period);
  const people = Object.entries(recordOf(entities.people)).map(([person, about]) => {
    const { role } = recordOf(about);
    return [person, { role: typeof role === "string" ? role : "" }] as const;
  });
  return {
    name,
    description: description ?? "",
    status:
      project.status === "archived" || project.status === "active" ? project.status : "in_progress",
    notes: notes ?? "",
    normalized_tags,
    categories,
    reference_keywords,
    entity_patterns: {
      people: Object.fromEntries(people),
      locations: wordsOf(entities.locations),
      domains: wordsOf(entities.domains),
      project_codes: wordsOf(entities.project_codes),
    },
    classification_signals: {
      temporal_relevance: { active_period: from && to ? [from, to] : null },
      content_types: wordsOf(signals.content_types),
      confidence_thresholds: {
        email: {
          subject_match: shareOf(email.subject_match, 0.7),
          content_match: shareOf(email.content_match, 0.6),
        },
        gdrive: {
          filename_match: shareOf(gdrive.filename_match, 0.8),
          content_match: shareOf(gdrive.content_match, 0.6),
        },
      },
    },
  };
}

function recordOf(value: unknown): Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? { ...value } : {};
}

function wordsOf(value: unknown): string[] {
  return Array.isArray(value) ? value.filter((word) => typeof word === "string") : [];
}

function shareOf(value: unknown, usual: number): number {
  return typeof value === "number" && value >= 0 && value <= 1 ? value : usual;
}
