/** A number that Python keeps as a float: a whole one is printed with `.0`. */
export class Float {
  readonly value: number;
  constructor(value: number) {
    this.value = value;
  }
  toJSON(): number {
    return this.value;
  }
}

/** As `json.dumps(value)` prints it: blanks after commas and colons, all but ASCII escaped. */
export function dumps(value: unknown): string {
  const plain = print(value, { comma: ", ", colon: ": ", isSorted: false });
  return plain.replace(
    /[^\x20-\x7e]/g,
    (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

/** As `json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))` prints it. */
export function canonical(value: unknown): string {
  return print(value, { comma: ",", colon: ":", isSorted: true });
}

type Style = { comma: string; colon: string; isSorted: boolean };

function print(value: unknown, style: Style): string {
  if (value instanceof Float)
    return Number.isInteger(value.value) ? `${value.value}.0` : `${value.value}`;
  if (value instanceof Map) return printObject([...value], style);
  if (Array.isArray(value)) return `[${value.map((item) => print(item, style)).join(style.comma)}]`;
  if (typeof value === "object" && value !== null) return printObject(Object.entries(value), style);
  return JSON.stringify(value ?? null);
}

function printObject(entries: [string, unknown][], style: Style): string {
  const ordered = style.isSorted
    ? entries.toSorted(([one], [other]) => Buffer.compare(Buffer.from(one), Buffer.from(other)))
    : entries;
  const members = ordered
    .filter(([, value]) => value !== undefined)
    .map(([key, value]) => `${JSON.stringify(key)}${style.colon}${print(value, style)}`);
  return `{${members.join(style.comma)}}`;
}
