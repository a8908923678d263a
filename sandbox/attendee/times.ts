/** As the API prints a time: microseconds, unless there are none. */
export function apiTime(time: Date): string {
  return `${withoutZone(time)}Z`;
}

/** As Python's `isoformat()` prints it, which is how webhooks tell it. */
export function pythonTime(time: Date): string {
  return `${withoutZone(time)}+00:00`;
}

function withoutZone(time: Date): string {
  const text = time.toISOString().slice(0, -1);
  return time.getMilliseconds() === 0 ? text.slice(0, -4) : `${text}000`;
}

const written =
  /^(\d{4}-\d{2}-\d{2})[T ](\d{2}:\d{2}(?::\d{2}(?:\.\d{1,6})?)?)(Z|[+-]\d{2}:?\d{2})?$/;

/** Reads a time as Django does: null for what is none. Without a zone it is in UTC. */
export function parseTime(text: unknown): Date | null {
  const [, day, time, zone = "Z"] = written.exec(String(text)) ?? [];
  if (!day) return null;
  const at = new Date(`${day}T${time}${zone}`);
  return Number.isNaN(at.getTime()) ? null : at;
}
