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
    const askAgain = asker((key) => queries.invalidateQueries({ queryKey: [key] }));
    for (const [type, keys] of Object.entries(concerned)) {
      stream.addEventListener(type, () => {
        for (const key of keys) void askAgain(key);
      });
    }
    return () => stream.close();
  }, [queries]);
}

// What is told of while an answer is on its way is asked for after it: cut off by each event, a long one would never come.
function asker(ask: (key: string) => Promise<void>): (key: string) => Promise<void> {
  const wanted = new Set<string>();
  const asking = new Set<string>();
  return async (key) => {
    wanted.add(key);
    if (asking.has(key)) return;
    asking.add(key);
    while (wanted.delete(key)) await ask(key);
    asking.delete(key);
  };
}
