import { Link } from "./router.tsx";

/** The way from one project to all of them. */
export function BackToProjects() {
  return (
    <p className="back">
      <Link href="/projects">All projects</Link>
    </p>
  );
}
