// Runs before the first paint, so that a page that was told to be dark never flashes white. The key is src/theme.ts's.
try {
  document.documentElement.dataset.theme = localStorage.getItem("daybook-theme") ?? "system";
} catch {
  // A browser that keeps nothing for sites shows the system's theme.
}
