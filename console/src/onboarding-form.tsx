import { useMutation, useQueryClient } from "@tanstack/react-query";
import { type ReactNode, useRef } from "react";
import { createProject, onboardProject, type Summary } from "./api.ts";
import { Button } from "./button.tsx";
import { Field, listOf, textOf } from "./field.tsx";
import { useUnsent } from "./unsent.ts";

type Props = {
  /** The project that is described anew; without one, a project is made. */
  project?: { id: string; name: string };
  /** What was said of it last. */
  summary?: Summary | undefined;
  onDone: (projectId: string) => void;
  children?: ReactNode;
};

/** What a person says of a project, for a model to draft from. A new project may also be made without a model. */
export function OnboardingForm({ project, summary, onDone, children }: Props) {
  const queries = useQueryClient();
  // Made by a try whose second half failed.
  const made = useRef(project?.id);
  const submitting = useMutation({
    mutationFn: async ({ written, drafts }: { written: Summary; drafts: boolean }) => {
      const { project_name: name, overview, keywords } = written;
      made.current ??= (
        await createProject({ name, description: overview, reference_keywords: keywords })
      ).id;
      if (drafts) await onboardProject(made.current, written);
      return made.current;
    },
    onSuccess: () => queries.invalidateQueries({ queryKey: ["projects"] }),
  });
  const unsent = useUnsent(`description ${project?.id}`);
  return (
    <form
      ref={unsent}
      className="fields"
      onSubmit={(event) => {
        event.preventDefault();
        const { submitter } = event.nativeEvent as SubmitEvent;
        const form = new FormData(event.currentTarget, submitter);
        const wish = { written: summaryOf(form), drafts: form.get("wish") === "draft" };
        // Whoever has gone elsewhere meanwhile is not called back.
        submitting.mutate(wish, { onSuccess: onDone });
      }}
    >
      <Field
        name="project_name"
        label="Name"
        most={200}
        value={summary?.project_name ?? project?.name}
        isRequired
      />
      <Field
        name="overview"
        label="What it is about"
        hint="Names of companies with their internet domains, and codes or numbers of the project, help most."
        most={10_000}
        rows={5}
        value={summary?.overview}
        isRequired
      />
      <Field
        name="keywords"
        label="Keywords"
        hint="Separated by commas."
        most={5_000}
        value={summary?.keywords.join(", ")}
      />
      <Field
        name="deliverables"
        label="Deliverables"
        most={10_000}
        rows={3}
        value={summary?.deliverables}
      />
      <fieldset className="columns">
        <legend>Who leads it</legend>
        <Field
          name="internal_lead"
          label="With us"
          most={200}
          value={summary?.contacts.internal_lead}
        />
        <Field
          name="agency_lead"
          label="At the agency"
          most={200}
          value={summary?.contacts.agency_lead}
        />
        <Field
          name="client_lead"
          label="At the client"
          most={200}
          value={summary?.contacts.client_lead}
        />
      </fieldset>
      <fieldset className="columns">
        <Field
          name="shoot_date"
          label="When"
          hint="Such as 2027-03-01 to 2027-03-05."
          most={200}
          value={summary?.shoot_date}
        />
        <Field name="location" label="Where" most={500} value={summary?.location} />
      </fieldset>
      <Field
        name="references"
        label="References"
        most={5_000}
        rows={2}
        value={summary?.references}
      />
      {submitting.isError && (
        <p className="notice warn" role="alert">
          {submitting.error.message}
        </p>
      )}
      <div className="actions">
        <Button
          type="submit"
          name="wish"
          value="draft"
          className="primary"
          isOff={submitting.isPending}
        >
          {submitting.isPending ? "One moment …" : "Draft what it is known by"}
        </Button>
        {!project && (
          <Button type="submit" name="wish" value="create" isOff={submitting.isPending}>
            Only create it
          </Button>
        )}
        {children}
      </div>
    </form>
  );
}

function summaryOf(form: FormData): Summary {
  const text = (name: string) => textOf(form, name);
  return {
    project_name: text("project_name"),
    overview: text("overview"),
    keywords: listOf(form, "keywords"),
    deliverables: text("deliverables"),
    contacts: {
      internal_lead: text("internal_lead"),
      agency_lead: text("agency_lead"),
      client_lead: text("client_lead"),
    },
    shoot_date: text("shoot_date"),
    location: text("location"),
    references: text("references"),
  };
}
