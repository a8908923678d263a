import { type ComponentProps, type MouseEvent, useSyncExternalStore } from "react";

/** The address's path, kept true while people go back and forth. */
export function usePath(): string {
  return useSyncExternalStore(subscribe, () => location.pathname);
}

/** The address's query, likewise. */
export function useQueryString(): URLSearchParams {
  return new URLSearchParams(useSyncExternalStore(subscribe, () => location.search));
}

/** Goes to another page of the console without loading it anew. */
export function goTo(address: string): void {
  show(address);
  document.getElementById("main")?.focus();
}

/** Shows the same page otherwise: whoever turns a filter stays at it. */
export function show(address: string): void {
  history.pushState(null, "", address);
  dispatchEvent(new PopStateEvent("popstate"));
}

/** A link within the console. Opened in another tab, or saved, it is a link like any other. */
export function Link({ href, ...rest }: ComponentProps<"a"> & { href: string }) {
  const follow = (event: MouseEvent) => {
    if (event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey)
      return;
    event.preventDefault();
    goTo(href);
  };
  return <a href={href} onClick={follow} {...rest} />;
}

function subscribe(onChange: () => void): () => void {
  addEventListener("popstate", onChange);
  return () => removeEventListener("popstate", onChange);
}
