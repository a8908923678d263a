import { Command, InvalidArgumentError, Option } from "commander";
import packageJson from "../package.json" with { type: "json" };
import {
  connectDelegatedMailbox,
  ensureAssistant,
  getMailboxOwner,
  mailboxTicket,
} from "./accounts/assistant.ts";
import { resealTokens } from "./accounts/reseal.ts";
import { openApp } from "./app.ts";
import { type Config, ConfigError, loadConfig } from "./config.ts";
import { MigrationError } from "./db/migrate.ts";
import { AppError, ProviderError } from "./lib/errors.ts";

const program = new Command("daybook")
  .description(
    "Keeps a person's working day in your own Postgres, and lets an assistant take part in it.",
  )
  .version(packageJson.version)
  .showHelpAfterError();

program
  .command("serve")
  .description("run the API, the console and the workers")
  .addOption(
    new Option("--role <role>", "what this process does").choices(["all", "api", "worker"]),
  )
  .action(({ role }: { role?: Config["role"] }) => runUntilStopped(role));

program
  .command("worker")
  .description("run the workers only (serve --role worker)")
  .action(() => runUntilStopped("worker"));

program
  .command("migrate")
  .description("bring the tables up to date, and stop")
  .action(async () => {
    await using _app = await openApp(loadConfig(process.env), { onProgress: say });
    say("Done. The tables are up to date.");
  });

program
  .command("reseal")
  .description("seal all tokens anew with ENCRYPTION_KEY, after a rotation")
  .action(async () => {
    await using app = await openApp(loadConfig(process.env), { onProgress: say });
    const progress = ({ done, total }: { done: number; total: number }) =>
      say(`${done} of ${total}`);
    const { resealed, unreadable } = await resealTokens(app, progress);
    say(`${resealed} connections resealed.`);
    if (unreadable === 0) return say("ENCRYPTION_KEY_PREVIOUS is no longer needed.");
    say(`${unreadable} were sealed with a key that is not configured: these people sign in again.`);
    process.exitCode = 1;
  });

program
  .command("connect-mailbox")
  .description(
    "connect the assistant's own mailbox, which all of its plus-addresses are delivered to",
  )
  .option("--delegate", "by the service account's domain-wide delegation, without a browser")
  .option("--mailbox <address>", "with --delegate: the mailbox, if it is not VIRTUAL_EMAIL_ADDRESS")
  .option("--user <address>", "with --delegate: a user's own mailbox in place of the assistant's")
  .action(async (options: { delegate?: boolean; mailbox?: string; user?: string }) => {
    await using app = await openApp(loadConfig(process.env), { onProgress: say });
    if (options.user && !options.delegate) {
      throw new ConfigError(
        "People connect their own mailbox by signing in; --delegate does it for them",
      );
    }
    const { id, email } = options.user
      ? await getMailboxOwner(app, options.user)
      : await ensureAssistant(app);
    if (options.delegate) {
      const mailbox = options.mailbox ?? email;
      const connected = await connectDelegatedMailbox(app, { userId: id, mailbox });
      say(`${connected.email} is connected; a running worker reads it from now on.`);
      return;
    }
    const url = app.config.publicUrl ?? `http://localhost:${app.config.port}`;
    say(`Open this within half an hour, and sign in at Google as ${email}:`);
    say(`${url}/api/v1/auth/google/mailbox?ticket=${mailboxTicket(app)}`);
  });

program
  .command("doctor")
  .description(
    "check configuration, database, queue, providers and public URL, and say how to mend them",
  )
  .action(async () => {
    const { examine } = await import("./doctor.ts");
    const findings = await examine(process.env);
    for (const { ok, subject, text } of findings)
      say(`${ok ? "ok  " : "BAD "} ${subject}: ${text}`);
    process.exitCode = findings.every(({ ok }) => ok) ? 0 : 1;
  });

const sandbox = program
  .command("sandbox")
  .description("run everything against a Google of its own, with made-up people")
  .option("--port <port>", "the port to listen on", portOf, 4400)
  .option("--data-dir <folder>", "where its database is kept", ".daybook/sandbox")
  .action(async (options: { port: number; dataDir: string }) => {
    const { startSandbox } = await import("../sandbox/start.ts");
    await untilStopped(await startSandbox({ ...options, say }));
  });

// What the sandbox can be told belongs to it; this program only lends it the command line.
async function addSandboxCommands(): Promise<void> {
  if (process.argv[2] !== "sandbox") return;
  const cli = await import("../sandbox/cli.ts");
  cli.addSandboxCommands(sandbox, say);
}

async function runUntilStopped(role: Config["role"] | undefined): Promise<void> {
  const config = loadConfig(process.env);
  const { serve } = await import("./serve.ts");
  const running = await serve({ ...config, role: role ?? config.role });
  const { app, server } = running;
  if (server) app.log.info({ url: server.listeningOrigin }, "listening");
  if (app.embedded) app.log.info({ psql: app.embedded.psql }, "own PostgreSQL");
  await untilStopped(running);
}

async function untilStopped(running: AsyncDisposable): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const)
    process.on(signal, () => resolve());
  await promise;
  // Whatever hangs, Ctrl-C ends within five seconds; what was cut off is resumed by the next start.
  setTimeout(() => process.exit(1), 4_800).unref();
  await running[Symbol.asyncDispose]();
}

function portOf(text: string): number {
  const port = Number(text);
  if (Number.isInteger(port) && port >= 0 && port < 65_536) return port;
  throw new InvalidArgumentError("A port is a number from 0 to 65535.");
}

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}

try {
  await addSandboxCommands();
  await program.parseAsync();
} catch (error) {
  const isExpected = [ConfigError, MigrationError, AppError, ProviderError].some(
    (expected) => error instanceof expected,
  );
  process.stderr.write(
    `${error instanceof Error ? (isExpected ? error.message : error.stack) : String(error)}\n`,
  );
  if (error instanceof ConfigError)
    process.stderr.write("Each variable is explained in .env.example.\n");
  process.exitCode = 1;
}
