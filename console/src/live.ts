import { useQueryClient } from "@tanstack/react-query";
import { useEffect, useRef } from "react";
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

// An answer that is no stream, such as a proxy's 502 while Daybook starts anew, makes the browser give up for good.
const openAgainMs = 5_000;

/**
 * Keeps what is shown current while it is looked at: the server tells, and what it concerns is asked for again. It begins
 * after the event that was the last before anything was asked for.
 */
export function useLive(lastEventId: string): void {
  const queries = useQueryClient();
  const lastSeen = useRef(lastEventId);
  useEffect(() => {
    const askAgain = asker((key) => queries.invalidateQueries({ queryKey: [key] }));
    let stream: EventSource;
    let timer: ReturnType<typeof setTimeout>;
    let wasLost = false;
    const open = () => {
      stream = new EventSource(eventsUrl(lastSeen.current));
      for (const [type, keys] of Object.entries(concerned)) {
        stream.addEventListener(type, (event) => {
          lastSeen.current = event.lastEventId;
          for (const key of keys) void askAgain(key);
        });
      }
      stream.onopen = () => {
        // What could not be had meanwhile, or was told to nobody, is asked for now.
        if (wasLost) void queries.invalidateQueries();
        wasLost = false;
      };
      stream.onerror = () => {
        wasLost = true;
        if (stream.readyState !== EventSource.CLOSED) return;
        // Says whether the session has ended, or else that Daybook does not answer.
        void queries.invalidateQueries({ queryKey: ["me"] });
        timer = setTimeout(open, openAgainMs);
      };
    };
    open();
    return () => {
      clearTimeout(timer);
      stream.close();
    };
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
