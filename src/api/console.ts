import { existsSync } from "node:fs";
import { join } from "node:path";
import fastifyStatic from "@fastify/static";
import type { FastifyInstance } from "fastify";
import { AppError } from "../lib/errors.ts";
import { sendProblem } from "./problems.ts";

const built = join(import.meta.dirname, "..", "..", "console", "dist");

/** Serves the console's built files at `/`, where there are any; any page of it may be opened by its address. */
export async function serveConsole(server: FastifyInstance): Promise<void> {
  const isBuilt = existsSync(join(built, "index.html"));
  if (isBuilt) {
    await server.register(fastifyStatic, {
      root: built,
      wildcard: false,
      // File names in assets/ carry a hash of their content.
      setHeaders: (reply, path) => {
        const isHashed = path.startsWith(join(built, "assets"));
        reply.header(
          "cache-control",
          isHashed ? "public, max-age=31536000, immutable" : "no-cache",
        );
      },
    });
  }
  server.setNotFoundHandler((request, reply) => {
    const isPage = request.method === "GET" && (request.headers.accept ?? "").includes("text/html");
    const isApi = /^\/(api|functions|webhooks|docs)\b/.test(request.url);
    if (isBuilt && isPage && !isApi) return reply.sendFile("index.html");
    const path = request.url.split("?")[0];
    return sendProblem(
      request,
      reply,
      new AppError("not_found", `No route ${request.method} ${path}`),
    );
  });
}
