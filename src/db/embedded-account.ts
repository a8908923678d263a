import { spawnSync } from "node:child_process";
import { readFileSync, statSync } from "node:fs";
import { dirname } from "node:path";

/** The unprivileged system user that the server runs as when we are root: PostgreSQL refuses to be root. */
export type Account = { uid: number; gid: number };

/** How to start a program as somebody. */
export type Command = {
  program: string;
  args: string[];
  options: { uid?: number; gid?: number; env: NodeJS.ProcessEnv };
};

const ownName = "daybook";

/** The server's own user, made when there is none yet; null when we are a plain user and the server runs as we do. */
export function ownAccount(): Account | null {
  if (process.getuid?.() !== 0) return null;
  const account = findAccount(ownName) ?? makeAccount() ?? findAccount("nobody");
  if (!account)
    throw new Error("PostgreSQL cannot run as root, and there is no other user to run it as");
  return account;
}

/** The plain user that a file belongs to, where we are root; null otherwise. */
export function accountOf(file: string): Account | null {
  const { uid, gid } = statSync(file);
  return process.getuid?.() === 0 && uid !== 0 ? { uid, gid } : null;
}

function findAccount(name: string): Account | null {
  const line = readFileSync("/etc/passwd", "utf8")
    .split("\n")
    .find((entry) => entry.startsWith(`${name}:`));
  const [, , uid, gid] = line?.split(":") ?? [];
  return uid && gid ? { uid: Number(uid), gid: Number(gid) } : null;
}

// The second command is that of BusyBox. On a read-only system neither works.
function makeAccount(): Account | null {
  const commands = [
    [
      "useradd",
      "--system",
      "--user-group",
      "--no-create-home",
      "--shell",
      "/usr/sbin/nologin",
      ownName,
    ],
    ["adduser", "-S", "-D", "-H", "-s", "/sbin/nologin", ownName],
  ];
  const isMade = commands.some(
    ([program = "", ...args]) => spawnSync(program, args, { stdio: "ignore" }).status === 0,
  );
  return isMade ? findAccount(ownName) : null;
}

/**
 * How to run a server program as `account`. Root often works inside folders that are closed to everybody else (its home,
 * a temporary folder); there the program keeps the one capability of passing through them.
 */
export function commandAs(
  account: Account | null,
  program: string,
  { args, mustReach }: { args: string[]; mustReach: string[] },
): Command {
  const env = { PATH: "/usr/bin:/bin", LC_ALL: "C", TZ: "UTC" };
  if (!account) return { program, args, options: { env } };
  const { uid, gid } = account;
  if ([program, ...mustReach].every((path) => canReach(account, path))) {
    return { program, args, options: { uid, gid, env } };
  }
  // The narrower cap_dac_read_search would do, but containers commonly withhold it.
  const privileges = [
    `--reuid=${uid}`,
    `--regid=${gid}`,
    "--clear-groups",
    "--inh-caps=-all,+dac_override",
    "--ambient-caps=-all,+dac_override",
    "--bounding-set=-all,+dac_override",
    // Or access(2), by which the programs look for each other, would not count the capability.
    "--securebits=+no_setuid_fixup",
  ];
  return { program: "setpriv", args: [...privileges, program, ...args], options: { env } };
}

function canReach({ uid, gid }: Account, path: string): boolean {
  for (let part = path; ; part = dirname(part)) {
    const { mode, uid: owner, gid: group } = statSync(part);
    const bits = owner === uid ? mode >> 6 : group === gid ? mode >> 3 : mode;
    if ((bits & 1) === 0) return false;
    if (part === dirname(part)) return true;
  }
}
