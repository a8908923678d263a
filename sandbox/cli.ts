import { type Command, InvalidArgumentError, Option } from "commander";
import { days, hours, minutes, seconds } from "./google/clock.ts";

/**
 * Adds the commands that steer a running sandbox through its control API: faults, clock, keys, people, requests. Each
 * says what the sandbox answered, as JSON.
 */
export function addSandboxCommands(sandbox: Command, say: (line: string) => void): void {
  const add: Add = (name, description, callOf) => {
    const url = "http://localhost:4400/sandbox/google";
    const command = sandbox.command(name).description(description);
    command.option("--url <url>", "where the sandbox is", url).action(async () => {
      const { url, ...options } = command.opts();
      say(await send(command, String(url), callOf(options, command.args[0] ?? "")));
    });
    return command;
  };
  addFaultCommands(add);
  addClockCommand(add);
  add(
    "rotate-keys",
    "sign ID tokens with a new key; the old one stays published for a day",
    ({ forget = false }) => post("/keys/rotate", { forget }),
  ).option("--forget", "publish the old ones no longer");
  add(
    "revoke <person>",
    "end everything that a person allowed, as they can at Google",
    (_options, person) => post(`/people/${encodeURIComponent(person)}/revoke`),
  );
  addMailCommand(add);
  add("people", "list the made-up people", () => get("/people"));
  add("grants", "list who allowed what", () => get("/grants"));
  add("requests", "list the last requests", (options) =>
    get(`/requests?${new URLSearchParams(textsOf(options))}`),
  )
    .option("--endpoint <name>", "only those to one endpoint")
    .option("--limit <number>", "how many", wholeNumber, 20);
  add("reset", "forget all that happened", () => post("/reset"));
}

type Call = { method: "GET" | "POST" | "DELETE"; path: string; body?: unknown };
type Options = Record<string, unknown>;
type Add = (
  name: string,
  description: string,
  callOf: (options: Options, argument: string) => Call,
) => Command;

const get = (path: string): Call => ({ method: "GET", path });
const post = (path: string, body?: unknown): Call => ({ method: "POST", path, body });

function addFaultCommands(add: Add): void {
  const faultOf = ({ untilCleared, times, ...settings }: Options, endpoint: string) =>
    post("/faults", { endpoint, ...settings, times: untilCleared ? null : times });
  add(
    "fault <endpoint>",
    "make requests fail, such as to oauth.token.refresh, calendar.* or /tokeninfo",
    faultOf,
  )
    .option("--status <number>", "answer with this status", wholeNumber)
    .option("--reason <reason>", "what clients branch on; by default the usual one for the status")
    .option("--message <text>", "the text beside the reason")
    .option("--html", "answer with a page, as a failing front end does")
    .option("--retry-after <seconds>", "send Retry-After", wholeNumber)
    .option("--delay-ms <ms>", "wait before answering", wholeNumber)
    .addOption(
      new Option("--reset <when>", "cut the connection").choices(["before", "after", "mid-body"]),
    )
    .option("--padding-bytes <number>", "begin the body with so much white space", wholeNumber)
    .option("--person <address>", "only for this person")
    .option("--skip <number>", "let this many requests through first", wholeNumber)
    .option("--times <number>", "how many requests fail", wholeNumber, 1)
    .option("--until-cleared", "every request fails until `clear-faults`");
  add("faults", "list the faults that are waiting", () => get("/faults"));
  add("clear-faults [id]", "take back one fault, or all", (_options, id) => ({
    method: "DELETE",
    path: id === "" ? "/faults" : `/faults/${encodeURIComponent(id)}`,
  }));
}

function addClockCommand(add: Add): void {
  const moveOf = ({ advance: advanceMs, ...other }: Options) => {
    const move = advanceMs === undefined ? other : { advanceMs };
    return Object.keys(move).length === 0 ? get("/clock") : post("/clock", move);
  };
  add("clock", "show the sandbox's time, or move it", moveOf)
    .addOption(
      new Option("--set <time>", "put it to a time, such as 2026-12-24T18:00:00Z").conflicts([
        "advance",
        "reset",
      ]),
    )
    .addOption(
      new Option("--advance <duration>", "move it on, such as by 90s, 15m, 2h or 7d")
        .argParser(duration)
        .conflicts("reset"),
    )
    .option("--reset", "back to real time");
}

function addMailCommand(add: Add): void {
  const mailOf = ({ unproven = false, ...mail }: Options) =>
    post("/gmail/send", { ...mail, ...(unproven ? { authentication: "fail" } : {}) });
  const several = (address: string, before: string[] | undefined) => [...(before ?? []), address];
  add("mail", "send a mail; whoever has a mailbox here gets it", mailOf)
    .requiredOption("--from <address>", "who writes it")
    .option("--to <address>", "to whom; may be given several times", several)
    .option("--cc <address>", "who gets a copy; likewise", several)
    .option("--bcc <address>", "who gets a copy that nobody else sees; likewise", several)
    .option("--subject <text>", "its subject", "Notes on the launch")
    .option("--text <text>", "its text", "Let us begin with the landing page.")
    .option("--html <markup>", "the same as HTML")
    .option("--unproven", "the receiving server finds that it is forged");
}

async function send(command: Command, url: string, { method, path, body }: Call): Promise<string> {
  const sent =
    body === undefined
      ? {}
      : { body: JSON.stringify(body), headers: { "content-type": "application/json" } };
  const answer = await fetch(`${url.replace(/\/+$/, "")}/_control${path}`, {
    method,
    ...sent,
  }).catch(() => null);
  if (!answer) {
    command.error(
      `No sandbox answers at ${url}. Start one with \`npm run sandbox\`, or say where it is with --url.`,
    );
  }
  const text = await answer.text();
  if (!answer.ok) command.error(`The sandbox refused: ${text}`);
  return JSON.stringify(JSON.parse(text), null, 2);
}

function textsOf(options: Options): Record<string, string> {
  return Object.fromEntries(Object.entries(options).map(([name, value]) => [name, String(value)]));
}

function wholeNumber(text: string): number {
  if (!/^\d+$/.test(text)) throw new InvalidArgumentError("must be a whole number");
  return Number(text);
}

function duration(text: string): number {
  const [, amount, unit] = /^(-?\d+)(s|m|h|d)$/.exec(text) ?? [];
  const unitMs = { s: seconds, m: minutes, h: hours, d: days }[unit ?? ""];
  if (unitMs === undefined)
    throw new InvalidArgumentError("must be a number with s, m, h or d, such as 15m");
  return Number(amount) * unitMs;
}
