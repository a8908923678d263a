import { useQueryClient } from "@tanstack/react-query";
import { useEffect } from "react";
import { eventsUrl } from "./api.ts";

// What has to be asked for again, by what the server tells of.
const concerned: Record<string, string[]> = {
  "calendar.changed": ["events", "meetings", "feeds"],
  "meeting.changed": ["events", "meetings"],
  "bot.changed": ["bots", "meetings"],
  "feeds.changed": ["feeds", "events"],
  "documents.changed": ["documents", "detections", "files"],
  "onboarding.changed": ["projects"],
  "mail.changed": ["held", "detections"],
  "connection.changed": ["me", "feeds"],
};

/** Keeps what is shown current while it is looked at: the server tells, and what it concerns is asked for again. */
export function useLive(): void {
  const queries = useQueryClient();
  useEffect(() => {
    const stream = new EventSource(eventsUrl);
    for (const [type, keys] of Object.entries(concerned)) {
      stream.addEventListener(type, () => {
        for (const key of keys) void queries.invalidateQueries({ queryKey: [key] });
      });
    }
    return () => stream.close();
  }, [queries]);
}
