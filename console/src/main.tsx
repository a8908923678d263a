import { MutationCache, QueryCache, QueryClient, QueryClientProvider } from "@tanstack/react-query";
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { ApiError } from "./api.ts";
import { App } from "./app.tsx";
import { Boundary } from "./boundary.tsx";
import { forgetAll } from "./forget.ts";
import "./style.css";

const queries: QueryClient = new QueryClient({
  // A session that ended elsewhere ends here too, whatever was being done.
  mutationCache: new MutationCache({ onError: endSession }),
  queryCache: new QueryCache({ onError: endSession }),
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

function endSession(error: Error): void {
  if (!(error instanceof ApiError) || error.status !== 401) return;
  queries.setQueryData(["me"], null);
  forgetAll(queries);
}

const root = document.getElementById("root");
if (root) {
  createRoot(root).render(
    <StrictMode>
      <QueryClientProvider client={queries}>
        <Boundary>
          <App />
        </Boundary>
      </QueryClientProvider>
    </StrictMode>,
  );
}
