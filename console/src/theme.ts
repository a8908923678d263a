export const themes = ["system", "light", "dark"] as const;
export type Theme = (typeof themes)[number];

const key = "daybook-theme";

/** The theme that this browser was told to use; the system's, if it was not. */
export function storedTheme(): Theme {
  const stored = unlessForbidden(() => localStorage.getItem(key));
  return themes.find((theme) => theme === stored) ?? "system";
}

/** Shows a theme. */
export function applyTheme(theme: Theme): void {
  document.documentElement.dataset.theme = theme;
}

/** Remembers a theme for this browser. */
export function storeTheme(theme: Theme): void {
  unlessForbidden(() => localStorage.setItem(key, theme));
}

// A browser that keeps nothing for sites throws; the choice then lasts until the page is left.
function unlessForbidden<Result>(act: () => Result): Result | undefined {
  try {
    return act();
  } catch {
    return undefined;
  }
}
