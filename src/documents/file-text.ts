import { fork } from "node:child_process";
import { readFile } from "node:fs/promises";
import { join } from "node:path";

/** How the text of a file is got: exported by Google, or from its bytes. */
export type Plan = { exportAs: string | null; kind: Kind };
export type Kind = "plain" | "html" | "pdf" | "docx";

/** A file's text. `cut` says in words what of it is missing, or why there is none. */
export type FileText = { text: string | null; cut: string | null };

/** Larger files are known by their metadata alone. */
export const largestFile = 50_000_000;
const longestText = 1_000_000;
const secondsAllowed = 60;
const memoryAllowed = 768 * 1024 * 1024;

const editor = "application/vnd.google-apps.";
const exports: Record<string, string> = {
  [`${editor}document`]: "text/markdown",
  [`${editor}spreadsheet`]: "text/csv",
  [`${editor}presentation`]: "text/plain",
};
const kinds: Record<string, Kind> = {
  "application/pdf": "pdf",
  "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "docx",
  "text/html": "html",
  "application/xhtml+xml": "html",
  "application/json": "plain",
  "application/xml": "plain",
};
const endings: Record<string, Kind> = {
  pdf: "pdf",
  docx: "docx",
  html: "html",
  md: "plain",
  txt: "plain",
  csv: "plain",
};

/** How to get at a file's text, or in words why that is not tried. */
export function planOf(file: {
  mimetype: string;
  name: string;
  size: number | null;
}): Plan | string {
  const exportAs = own(exports, file.mimetype);
  if (exportAs) return { exportAs, kind: "plain" };
  if (file.mimetype.startsWith(editor)) return "Google gives no text of a file of this kind";
  const isUnknown = file.mimetype === "application/octet-stream";
  const ending = /\.(\w+)$/.exec(file.name)?.[1]?.toLowerCase() ?? "";
  const kind =
    own(kinds, file.mimetype) ??
    (file.mimetype.startsWith("text/") ? "plain" : isUnknown ? own(endings, ending) : undefined);
  if (!kind) return "Files of this kind are known by their name alone";
  if ((file.size ?? 0) > largestFile) return `It is larger than ${largestFile / 1_000_000} MB`;
  return { exportAs: null, kind };
}

// What a file is called is its owner's choice: `constructor` is no kind.
function own<Value>(table: Record<string, Value>, name: string): Value | undefined {
  return Object.hasOwn(table, name) ? table[name] : undefined;
}

/**
 * The text of a file's content. What is unpacked or parsed is so in a process of its own, with a limit of time and
 * memory: a file that is made to exhaust either ends that process and nothing else.
 */
export async function textOf(
  content: Buffer,
  kind: Kind,
  { signal }: { signal: AbortSignal },
): Promise<FileText> {
  if (kind === "plain") return shortened(decoded(content));
  const result = await extract(content, kind, signal);
  return "problem" in result ? { text: null, cut: result.problem } : shortened(result.text);
}

/** What bytes say that come without their charset: by their mark, else in UTF-8, else as western editors save them. */
export function decoded(content: Buffer): string {
  const mark = content.subarray(0, 2).toString("hex");
  const encoding = mark === "fffe" ? "utf-16le" : mark === "feff" ? "utf-16be" : "utf-8";
  const text = new TextDecoder(encoding).decode(content);
  // One broken letter among many does not make it another encoding.
  const sample = text.slice(0, 100_000);
  const count = (letters: RegExp) => sample.match(letters)?.length ?? 0;
  const isOther = encoding === "utf-8" && count(/\ufffd/g) > count(/[^\0-\x7f\ufffd]/g);
  return isOther ? new TextDecoder("windows-1252").decode(content) : text;
}

function shortened(text: string): FileText {
  const clean = text.toWellFormed().replaceAll("\0", "").replace(/\r\n?/g, "\n").trim();
  if (clean.length <= longestText) return { text: clean, cut: null };
  return {
    text: clean.slice(0, longestText).toWellFormed(),
    cut: `Only its first ${longestText} characters are kept`,
  };
}

/** What the process answers. */
export type Extracted = { text: string } | { problem: string };

async function extract(content: Buffer, kind: Kind, signal: AbortSignal): Promise<Extracted> {
  const child = fork(join(import.meta.dirname, "extract.ts"), [], {
    execArgv: ["--max-old-space-size=384"],
    env: {},
    serialization: "advanced",
    stdio: "ignore",
  });
  const { promise, resolve } = Promise.withResolvers<Extracted>();
  const giveUp = (problem: string) => {
    resolve({ problem });
    child.kill("SIGKILL");
  };
  const tooSlow = setTimeout(
    () => giveUp(`Its text could not be read within ${secondsAllowed} seconds`),
    secondsAllowed * 1_000,
  );
  const tooLarge = setInterval(async () => {
    if ((await residentBytes(child.pid)) > memoryAllowed)
      giveUp("It unpacks to more than can be read");
  }, 100);
  const stopped = () => giveUp("The process was stopped");
  signal.addEventListener("abort", stopped);
  child.on("message", (message) => resolve(message as Extracted));
  child.on("error", () => giveUp("Its text could not be read"));
  child.on("exit", () => resolve({ problem: "It unpacks to more than can be read" }));
  child.send({ content, kind }, () => {});
  try {
    const result = await promise;
    signal.throwIfAborted();
    return result;
  } finally {
    clearTimeout(tooSlow);
    clearInterval(tooLarge);
    signal.removeEventListener("abort", stopped);
    child.kill("SIGKILL");
  }
}

// Where the system does not tell, the limit of the heap alone holds.
async function residentBytes(pid: number | undefined): Promise<number> {
  const text = await readFile(`/proc/${pid}/statm`, "utf8").catch(() => "");
  return Number(text.split(" ")[1] ?? 0) * 4096;
}
