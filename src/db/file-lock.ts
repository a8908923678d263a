import { DatabaseSync } from "node:sqlite";
import { setTimeout as sleep } from "node:timers/promises";

const longestWaitMs = 90_000;
const busy = 5;

/**
 * Runs `act` while nobody else, in this process or another of this machine, does under the same file. The operating
 * system itself lets go of the lock when its holder dies, so that no lock is ever left behind.
 *
 * @throws when the lock is not to be had within a minute and a half.
 */
export async function withFileLock<Result>(
  file: string,
  act: () => Promise<Result>,
): Promise<Result> {
  // Node offers no file locks of its own. SQLite's are those of the operating system, on each of them.
  const lock = new DatabaseSync(file);
  try {
    await acquire(lock, file);
    return await act();
  } finally {
    lock.close();
  }
}

async function acquire(lock: DatabaseSync, file: string): Promise<void> {
  const deadline = Date.now() + longestWaitMs;
  while (!tryAcquire(lock)) {
    if (Date.now() > deadline) throw new Error(`Another process has held ${file} for too long`);
    await sleep(20);
  }
}

function tryAcquire(lock: DatabaseSync): boolean {
  try {
    // Nothing is ever written, so there is no journal to leave behind.
    lock.exec("pragma journal_mode = memory; begin exclusive");
    return true;
  } catch (error) {
    if (error instanceof Error && "errcode" in error && error.errcode === busy) return false;
    throw error;
  }
}
