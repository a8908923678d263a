import assert from "node:assert/strict";
import type { TestApp, Visitor } from "./harness.ts";

export type Told = { id: string; event: string; data: Record<string, unknown> };

/** An open stream of server-sent events, and what it has told so far. */
export async function listen(t: TestApp, visitor: Visitor, lastEventId?: string) {
  const leaving = new AbortController();
  const answer = await fetch(`${t.url}/api/v1/events`, {
    headers: { cookie: visitor.cookie, ...(lastEventId ? { "last-event-id": lastEventId } : {}) },
    signal: leaving.signal,
  });
  assert.equal(answer.status, 200);
  assert.match(answer.headers.get("content-type") ?? "", /text\/event-stream/);
  const told: Told[] = [];
  const reading = (async () => {
    let text = "";
    for await (const chunk of answer.body!) {
      text += new TextDecoder().decode(chunk);
      const blocks = text.split("\n\n");
      text = blocks.pop() ?? "";
      for (const block of blocks) {
        const fields = new Map(
          block.split("\n").map((line) => line.split(/: (.*)/s) as [string, string]),
        );
        const data = fields.get("data");
        if (data)
          told.push({ id: fields.get("id")!, event: fields.get("event")!, data: JSON.parse(data) });
      }
    }
  })().catch(() => {});
  return {
    told,
    leave: async () => {
      leaving.abort();
      await reading;
    },
  };
}
