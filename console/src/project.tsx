import { useInfiniteQuery, useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useContext, useRef, useState } from "react";
import { flushSync } from "react-dom";
import {
  changeProject,
  fetchProject,
  fetchProjectMeetings,
  type Onboarding,
  type WholeProject,
} from "./api.ts";
import { BackToProjects } from "./back-to-projects.tsx";
import { Button } from "./button.tsx";
import { dayOf, nameOf, timeOf } from "./days.ts";
import { DeleteProject } from "./dialogs.tsx";
import { DocumentList } from "./documents.tsx";
import { Notice, Say } from "./message.tsx";
import { Metadata } from "./metadata.tsx";
import { MetadataForm } from "./metadata-form.tsx";
import { OnboardingForm } from "./onboarding-form.tsx";
import { Paged } from "./paged.tsx";
import { Link } from "./router.tsx";
import { Failure } from "./waiting.tsx";

// The server takes the form anew after a silence of a little more than half an hour.
const silentForMs = 35 * 60_000;

const isEnded = ({ state }: Onboarding) => state === "stored" || state === "failed";

type Answer = { data: WholeProject | undefined; dataUpdatedAt: number };

// As of the latest answer: each draws the page anew, also one that says the same as before, after too long a silence.
function isUnderWay({ data, dataUpdatedAt }: Answer): boolean {
  const onboarding = data?.onboarding ?? null;
  if (onboarding === null || isEnded(onboarding)) return false;
  return dataUpdatedAt - Date.parse(onboarding.updated_at) <= silentForMs;
}

/** One project: what it is known by, how its onboarding goes, and what lies in it. */
export function ProjectPage({ id }: { id: string }) {
  const project = useQuery({
    queryKey: ["projects", id],
    queryFn: () => fetchProject(id),
    // The server tells of each step; this is for when it cannot.
    refetchInterval: ({ state }) => (isUnderWay(state) ? 3_000 : false),
  });
  if (project.isPending) return <div className="skeleton card" aria-busy="true" />;
  if (project.data === undefined) {
    return (
      <>
        <BackToProjects />
        <Failure query={project} />
      </>
    );
  }
  const { name, status, onboarding } = project.data;
  const isDrafting = isUnderWay(project);
  return (
    <>
      <BackToProjects />
      <Failure query={project} />
      <div className="title">
        <h1>{name}</h1>
        {status === "archived" && <span className="badge">archived</span>}
      </div>
      {onboarding && <Progress onboarding={onboarding} isDrafting={isDrafting} />}
      <KnownBy project={project.data} isDrafting={isDrafting} />
      <h2 className="over-list">Documents</h2>
      <DocumentList filter={{ q: "", project: id, classification: "" }}>
        None yet. A mail to your assistant that speaks of it comes here.
      </DocumentList>
      <h2 className="over-list">Meetings</h2>
      <MeetingList projectId={id} />
    </>
  );
}

const steps = [
  { state: "waiting", name: "Asked for" },
  { state: "drafting", name: "A model drafts it" },
  { state: "checking", name: "It is checked" },
  { state: "stored", name: "Stored" },
];

function Progress({ onboarding, isDrafting }: { onboarding: Onboarding; isDrafting: boolean }) {
  const { state, error } = onboarding;
  const current = steps.findIndex((step) => step.state === state);
  if (state === "failed") {
    return (
      <Notice tone="warn">
        <span>Nothing was drafted, and nothing was changed. {error}</span>
      </Notice>
    );
  }
  if (state === "stored") return null;
  if (!isDrafting) {
    return (
      <Notice tone="warn">
        <span>Nothing was heard of the draft for a while. Describe the project anew.</span>
      </Notice>
    );
  }
  return (
    <section className="stacked" aria-labelledby="progress">
      <h2 id="progress">What it is known by is being drafted</h2>
      <ol className="steps">
        {steps.map((step, index) => (
          <li
            key={step.state}
            className={index < current ? "done" : ""}
            aria-current={index === current ? "step" : undefined}
          >
            {step.name}
          </li>
        ))}
      </ol>
      <p className="visually-hidden" role="status">
        {steps[current]?.name}
      </p>
    </section>
  );
}

type Mode = "shown" | "edited" | "described";

function KnownBy({ project, isDrafting }: { project: WholeProject; isDrafting: boolean }) {
  const [mode, setMode] = useState<Mode>("shown");
  const section = useRef<HTMLElement>(null);
  const { onboarding } = project;
  const turnTo = (next: Mode) => {
    const hadFocus = section.current?.contains(document.activeElement);
    flushSync(() => setMode(next));
    // What had it has gone: the form's first field has it next, or else the way into the form.
    if (hadFocus) section.current?.querySelector<HTMLElement>("input, .actions button")?.focus();
  };
  const show = () => turnTo("shown");
  const cancel = (
    <button type="button" onClick={show}>
      Cancel
    </button>
  );
  return (
    <section className="stacked" aria-labelledby="known" ref={section}>
      <h2 id="known">What it is known by</h2>
      {mode === "edited" && (
        <MetadataForm project={project} onDone={show}>
          {cancel}
        </MetadataForm>
      )}
      {mode === "described" && (
        <OnboardingForm project={project} summary={onboarding?.summary} onDone={show}>
          {cancel}
        </OnboardingForm>
      )}
      {mode === "shown" && (
        <>
          <Metadata project={project} />
          {onboarding?.state === "stored" && <Drafted onboarding={onboarding} />}
          <div className="actions">
            <button type="button" onClick={() => turnTo("edited")}>
              Edit
            </button>
            <Button isOff={isDrafting} onClick={() => turnTo("described")}>
              {onboarding ? "Describe it anew" : "Describe it"}
            </Button>
            <Archive project={project} />
            <DeleteProject project={project} />
          </div>
        </>
      )}
    </section>
  );
}

function Drafted({ onboarding }: { onboarding: Onboarding }) {
  const { model, input_tokens, output_tokens, duration_ms, corrections } = onboarding;
  const seconds = ((duration_ms ?? 0) / 1000).toFixed(1);
  return (
    <details>
      <summary>How it was drafted</summary>
      <p className="faint">
        By {model}, from {input_tokens} tokens to {output_tokens}, in {seconds} s.
      </p>
      {corrections.length > 0 && (
        <ul className="faint" aria-label="What was put right">
          {corrections.map((text) => (
            <li key={text}>{text}</li>
          ))}
        </ul>
      )}
    </details>
  );
}

function Archive({ project: { id, name, status } }: { project: WholeProject }) {
  const queries = useQueryClient();
  const say = useContext(Say);
  const isArchived = status === "archived";
  const changing = useMutation({
    mutationFn: () => changeProject(id, isArchived ? "active" : "archived"),
    onSuccess: async () => {
      await queries.invalidateQueries({ queryKey: ["projects"] });
      say({ tone: "good", text: isArchived ? `${name} is back.` : `${name} is archived.` });
    },
    onError: (error) => say({ tone: "warn", text: `Nothing was changed. ${error.message}` }),
  });
  return (
    <Button isOff={changing.isPending} onClick={() => changing.mutate()}>
      {isArchived ? "Take it back" : "Archive"}
    </Button>
  );
}

function MeetingList({ projectId }: { projectId: string }) {
  const meetings = useInfiniteQuery({
    queryKey: ["meetings", "project", projectId],
    queryFn: ({ pageParam }) => fetchProjectMeetings(projectId, pageParam),
    initialPageParam: "",
    getNextPageParam: (page) => page.next_cursor ?? undefined,
  });
  const found = (meetings.data?.pages ?? []).flatMap(({ items }) => items);
  return (
    <>
      <Failure query={meetings} />
      {meetings.isSuccess && found.length === 0 && (
        <p className="empty">None yet. A meeting’s project is chosen among the meetings.</p>
      )}
      <Paged query={meetings}>
        <ul className="agenda documents">
          {found.map(({ id, title, start_time, status }) => (
            <li key={id} className={status === "cancelled" ? "over declined" : status}>
              <div>
                <h3>
                  <Link href={`/meetings?id=${id}`}>{title}</Link>
                </h3>
                <p className="faint">
                  <time dateTime={start_time}>
                    {nameOf(dayOf(start_time))}, {timeOf(start_time)}
                  </time>
                </p>
              </div>
            </li>
          ))}
        </ul>
      </Paged>
    </>
  );
}
