import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { type TestApp, testEnvironment } from "./harness.ts";

/** A worker process like any other; it dies by kill -9 only. */
export function startWorker(t: TestApp, environment: Record<string, string> = {}): ChildProcess {
  const place = {
    url: t.url,
    port: 0,
    database: t.database,
    environment: { PUBLIC_URL: t.url, LOG_LEVEL: "error", ...environment },
  };
  return spawn(process.execPath, ["src/main.ts", "worker"], {
    env: { ...process.env, ...testEnvironment(t.google, place), PORT: "4400" },
    stdio: ["ignore", "ignore", "inherit"],
  });
}

export async function killWorker(worker: ChildProcess): Promise<void> {
  const ended = once(worker, "exit");
  worker.kill("SIGKILL");
  await ended;
}
