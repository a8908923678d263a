import type { Document } from "./api.ts";

/** The project that a document is in, or what is in the way of one. */
export function Place({ document }: { document: Document }) {
  const { project_name, classification_status } = document;
  if (project_name) return <span className="badge good">{project_name}</span>;
  const words: Record<string, string> = {
    pending: "on its way",
    sent_to_n8n: "being classified",
    unclassified: "in no project",
    failed: "not delivered",
  };
  const isTrouble = classification_status === "failed";
  return (
    <span className={isTrouble ? "badge warn" : "badge"}>
      {words[classification_status ?? ""] ?? "in no project"}
    </span>
  );
}
