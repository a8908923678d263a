import type { App } from "../app.ts";
import { calendarSource } from "./calendar.ts";
import { calendarListSource } from "./calendar-list.ts";
import { driveSource } from "./drive.ts";
import type { FeedKind } from "./feeds.ts";
import { gmailSource } from "./gmail.ts";
import type { Source } from "./source.ts";

// The engine only carries changes from a source's `listPage` to the same source's `apply`.
const sources: Record<FeedKind, Source<unknown>> = {
  calendar_list: calendarListSource,
  calendar: calendarSource,
  gmail: gmailSource,
  drive: driveSource,
};

/** The kinds that this deployment can be told about by push. */
export function pushedKinds(config: App["config"]): FeedKind[] {
  const kinds = Object.keys(sources) as FeedKind[];
  return kinds.filter((kind) => sources[kind].channel.targetOf(config));
}

/** How a kind of feed is read. */
export function sourceOf(kind: FeedKind): Source<unknown> {
  return sources[kind];
}
