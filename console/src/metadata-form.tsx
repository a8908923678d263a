import { useMutation, useQueryClient } from "@tanstack/react-query";
import { type ReactNode, useContext, useId } from "react";
import { type Metadata, type Project, projectStates, storeMetadata } from "./api.ts";
import { Button } from "./button.tsx";
import { Field, listOf, textOf } from "./field.tsx";
import { Say } from "./message.tsx";
import { knownOf } from "./metadata.tsx";
import { useUnsent } from "./unsent.ts";

const stateNames = { active: "Active", in_progress: "In progress", archived: "Archived" };
const lines = /\n+/;

type Props = { project: Project; onDone: () => void; children: ReactNode };

/** What a project is known by, for people to change. */
export function MetadataForm({ project, onDone, children }: Props) {
  const queries = useQueryClient();
  const say = useContext(Say);
  const known = knownOf(project);
  const { entity_patterns: entities, classification_signals: signals } = known;
  const { email, gdrive } = signals.confidence_thresholds;
  const [from, to] = signals.temporal_relevance.active_period ?? [];
  const saving = useMutation({
    mutationFn: (metadata: Metadata) => storeMetadata(project.id, metadata),
    onSuccess: async () => {
      await queries.invalidateQueries({ queryKey: ["projects"] });
      say({ tone: "good", text: "Saved. What comes from now on is put here by it." });
      onDone();
    },
  });
  const stateId = useId();
  const unsent = useUnsent(`metadata ${project.id}`);
  return (
    <form
      ref={unsent}
      className="fields"
      onSubmit={(event) => {
        event.preventDefault();
        saving.mutate(metadataOf(new FormData(event.currentTarget)));
      }}
    >
      <Field name="name" label="Name" most={200} value={known.name} isRequired />
      <div>
        <label htmlFor={stateId}>State</label>
        <select id={stateId} name="status" defaultValue={known.status}>
          {projectStates.map((state) => (
            <option key={state} value={state}>
              {stateNames[state]}
            </option>
          ))}
        </select>
      </div>
      <Field
        name="description"
        label="Description"
        most={10_000}
        rows={4}
        value={known.description}
      />
      <Field
        name="normalized_tags"
        label="Tags"
        hint="In lower case with underscores, such as product_launch; separated by commas."
        most={5_000}
        value={known.normalized_tags.join(", ")}
      />
      <Field
        name="categories"
        label="Categories"
        most={2_000}
        value={known.categories.join(", ")}
      />
      <Field
        name="reference_keywords"
        label="Keywords"
        most={5_000}
        value={known.reference_keywords.join(", ")}
      />
      <Field
        name="project_codes"
        label="Codes"
        most={2_000}
        value={entities.project_codes.join(", ")}
      />
      <Field
        name="domains"
        label="Domains"
        hint="Of companies that take part, such as acme.example."
        most={10_000}
        value={entities.domains.join(", ")}
      />
      <Field
        name="people"
        label="People"
        hint="One a line: name, colon, role."
        most={20_000}
        rows={3}
        value={Object.entries(entities.people)
          .map(([name, { role }]) => (role ? `${name}: ${role}` : name))
          .join("\n")}
      />
      <Field
        name="locations"
        label="Places"
        hint="One a line."
        most={4_000}
        rows={2}
        value={entities.locations.join("\n")}
      />
      <fieldset className="columns">
        <legend>Active</legend>
        <DateField name="from" label="From" value={from} />
        <DateField name="to" label="To" value={to} />
      </fieldset>
      <Field
        name="content_types"
        label="Kinds of documents"
        most={2_000}
        value={signals.content_types.join(", ")}
      />
      <fieldset className="columns">
        <legend>Sure enough, in percent</legend>
        <ShareField name="subject_match" label="A mail’s subject" value={email.subject_match} />
        <ShareField name="mail_match" label="A mail’s text" value={email.content_match} />
        <ShareField name="filename_match" label="A file’s name" value={gdrive.filename_match} />
        <ShareField name="file_match" label="A file’s text" value={gdrive.content_match} />
      </fieldset>
      <Field name="notes" label="Notes" most={20_000} rows={4} value={known.notes} />
      {saving.isError && (
        <p className="notice warn" role="alert">
          {saving.error.message}
        </p>
      )}
      <div className="actions">
        <Button type="submit" className="primary" isOff={saving.isPending}>
          {saving.isPending ? "Saving …" : "Save"}
        </Button>
        {children}
      </div>
    </form>
  );
}

function DateField({
  name,
  label,
  value,
}: {
  name: string;
  label: string;
  value: string | undefined;
}) {
  const id = useId();
  return (
    <div>
      <label htmlFor={id}>{label}</label>
      <input id={id} type="date" name={name} defaultValue={value} />
    </div>
  );
}

function ShareField({ name, label, value }: { name: string; label: string; value: number }) {
  const id = useId();
  const percent = Math.round(value * 100);
  return (
    <div>
      <label htmlFor={id}>{label}</label>
      <input id={id} type="number" name={name} min={0} max={100} required defaultValue={percent} />
    </div>
  );
}

function metadataOf(form: FormData): Metadata {
  const text = (name: string) => textOf(form, name);
  const list = (name: string, between?: RegExp) => listOf(form, name, between);
  const share = (name: string) => Number(text(name)) / 100;
  const people = list("people", lines).map((line) => {
    const [name = "", ...role] = line.split(":");
    return [name.trim(), { role: role.join(":").trim() }] as const;
  });
  const [from, to] = [text("from"), text("to")];
  return {
    name: text("name"),
    description: text("description"),
    status: projectStates.find((state) => state === text("status")) ?? "active",
    notes: text("notes"),
    normalized_tags: list("normalized_tags"),
    categories: list("categories"),
    reference_keywords: list("reference_keywords"),
    entity_patterns: {
      people: Object.fromEntries(people),
      locations: list("locations", lines),
      domains: list("domains").map((domain) => domain.toLowerCase()),
      project_codes: list("project_codes"),
    },
    classification_signals: {
      // A day without another is a period of one day.
      temporal_relevance: { active_period: from || to ? [from || to, to || from] : null },
      content_types: list("content_types"),
      confidence_thresholds: {
        email: { subject_match: share("subject_match"), content_match: share("mail_match") },
        gdrive: { filename_match: share("filename_match"), content_match: share("file_match") },
      },
    },
  };
}
