import { useQueryClient } from "@tanstack/react-query";
import { useCallback } from "react";
import type { Me } from "./api.ts";

/**
 * Keeps what is written in a form where the session ends under it: signed in again, the same person finds it there, in the
 * same tab. Given to the form as its `ref`; `name` says which form it is.
 */
export function useUnsent(name: string): (form: HTMLFormElement) => () => void {
  const queries = useQueryClient();
  return useCallback(
    (form) => {
      const me = () => queries.getQueryData<Me | null>(["me"]);
      const key = `unsent ${me()?.user.id} ${name}`;
      for (const [field, value] of Object.entries(takeKept(key))) {
        const input = form.elements.namedItem(field);
        if (input && "value" in input) input.value = value;
      }
      return () => {
        if (me() !== null) return;
        sessionStorage.setItem(key, JSON.stringify(Object.fromEntries(new FormData(form))));
      };
    },
    [queries, name],
  );
}

/** Forgets what is kept so for anybody but this person; without one, for everybody. */
export function forgetUnsent(userId?: string): void {
  for (const key of Object.keys(sessionStorage)) {
    const isTheirs = key.startsWith(`unsent ${userId} `);
    if (key.startsWith("unsent ") && !isTheirs) sessionStorage.removeItem(key);
  }
}

function takeKept(key: string): Record<string, string> {
  const kept = sessionStorage.getItem(key);
  sessionStorage.removeItem(key);
  return kept ? JSON.parse(kept) : {};
}
