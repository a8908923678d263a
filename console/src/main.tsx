import { MutationCache, QueryClient, QueryClientProvider } from "@tanstack/react-query";
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { ApiError } from "./api.ts";
import { App } from "./app.tsx";
import { applyTheme, storedTheme } from "./theme.ts";
import "./style.css";

const queries = new QueryClient({
  // A session that ended elsewhere ends here too, whatever was being done.
  mutationCache: new MutationCache({
    onError: (error) => {
      if (error instanceof ApiError && error.status === 401) queries.setQueryData(["me"], null);
    },
  }),
  defaultOptions: {
    queries: {
      retry: (failures, error) => failures < 1 && error instanceof ApiError && error.isPassing,
      staleTime: 5_000,
      networkMode: "always",
      refetchOnReconnect: "always",
    },
    // Waiting for the network would carry out a wish minutes after it was made.
    mutations: { networkMode: "always" },
  },
});

applyTheme(storedTheme());
const root = document.getElementById("root");
if (root) {
  createRoot(root).render(
    <StrictMode>
      <QueryClientProvider client={queries}>
        <App />
      </QueryClientProvider>
    </StrictMode>,
  );
}
