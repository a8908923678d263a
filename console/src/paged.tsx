import { type ReactNode, useLayoutEffect, useRef } from "react";
import { Button } from "./button.tsx";

type Pages = {
  hasNextPage: boolean;
  isFetchingNextPage: boolean;
  fetchNextPage(): unknown;
};

/** A list that is had page by page, and the way to the next one. Once that is there, its first row has the focus. */
export function Paged({ query, children }: { query: Pages; children: ReactNode }) {
  const { hasNextPage, isFetchingNextPage } = query;
  const list = useRef<HTMLDivElement>(null);
  const more = useRef<HTMLButtonElement>(null);
  const before = useRef<number>(null);
  useLayoutEffect(() => {
    if (isFetchingNextPage || before.current === null) return;
    const first = rowsIn(list.current)[before.current];
    before.current = null;
    // Whoever has gone on meanwhile is not called back.
    const { activeElement } = document;
    if (activeElement === document.body || activeElement === more.current)
      first?.querySelector<HTMLElement>("a, button, select")?.focus();
  }, [isFetchingNextPage]);
  return (
    <div ref={list}>
      {children}
      {hasNextPage && (
        <Button
          ref={more}
          isOff={isFetchingNextPage}
          onClick={() => {
            before.current = rowsIn(list.current).length;
            query.fetchNextPage();
          }}
        >
          {isFetchingNextPage ? "Loading …" : "Show more"}
        </Button>
      )}
    </div>
  );
}

function rowsIn(list: HTMLElement | null): Element[] {
  return [...(list?.querySelectorAll(".agenda > li") ?? [])];
}
