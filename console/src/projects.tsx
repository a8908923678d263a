import { useInfiniteQuery } from "@tanstack/react-query";
import { fetchProjectPage, type Project } from "./api.ts";
import { BackToProjects } from "./back-to-projects.tsx";
import { OnboardingForm } from "./onboarding-form.tsx";
import { Paged } from "./paged.tsx";
import { ProjectPage } from "./project.tsx";
import { goTo, Link, show, useQueryString } from "./router.tsx";
import { Failure } from "./waiting.tsx";

/** Projects: what mail, files and meetings are put into, each with what it is known by. */
export function Projects() {
  const query = useQueryString();
  const id = query.get("id");
  if (id !== null) return <ProjectPage key={id} id={id} />;
  if (query.has("new")) return <NewProject />;
  return <ProjectList isArchived={query.get("show") === "archived"} />;
}

function NewProject() {
  return (
    <>
      <BackToProjects />
      <div className="title">
        <h1>New project</h1>
      </div>
      <section>
        <OnboardingForm onDone={(id) => goTo(`/projects?id=${id}`)} />
      </section>
    </>
  );
}

function ProjectList({ isArchived }: { isArchived: boolean }) {
  const projects = useInfiniteQuery({
    queryKey: ["projects", "list", isArchived],
    queryFn: ({ pageParam }) => fetchProjectPage(isArchived, pageParam),
    initialPageParam: "",
    getNextPageParam: (page) => page.next_cursor ?? undefined,
  });
  const found = (projects.data?.pages ?? []).flatMap(({ items }) => items);
  return (
    <>
      <div className="title">
        <h1>Projects</h1>
        <div className="actions">
          <button
            type="button"
            aria-pressed={isArchived}
            onClick={() => show(isArchived ? "/projects" : "/projects?show=archived")}
          >
            Archived
          </button>
          <Link className="button primary" href="/projects?new">
            New project
          </Link>
        </div>
      </div>
      {projects.isPending && <div className="skeleton card" aria-busy="true" />}
      <Failure query={projects} />
      {projects.isSuccess && found.length === 0 && (
        <p className="empty">
          {isArchived
            ? "None is archived."
            : "None yet. Describe one, and mail to your assistant finds its way there."}
        </p>
      )}
      <Paged query={projects}>
        <ul className="agenda documents">
          {found.map((project) => (
            <Row key={project.id} project={project} />
          ))}
        </ul>
      </Paged>
    </>
  );
}

function Row({ project: { id, name, description, normalized_tags } }: { project: Project }) {
  return (
    <li>
      <div>
        <h2>
          <Link href={`/projects?id=${id}`}>{name}</Link>
        </h2>
        {description && <p className="summary">{description}</p>}
        {normalized_tags.length === 0 && (
          <p className="faint">Not described yet: only its name leads anything here.</p>
        )}
      </div>
    </li>
  );
}
