/** One stretch of speech; the times are seconds since the first word. */
export type Segment = { speaker: string; start: number; end: number; text: string };

/** What one person said without another in between. */
export type Run = { speaker: string; start: number; segments: Segment[] };

/** A piece of text, and whether it was looked for. */
export type Piece = { text: string; isHit: boolean };

/** Puts together what one speaker says in a row. */
export function runsOf(segments: Segment[]): Run[] {
  const runs: Run[] = [];
  for (const segment of segments) {
    const last = runs.at(-1);
    if (last?.speaker === segment.speaker) last.segments.push(segment);
    else runs.push({ speaker: segment.speaker, start: segment.start, segments: [segment] });
  }
  return runs;
}

/** Cuts a text where what was looked for stands, in either case; nothing is found of nothing. */
export function piecesOf(text: string, wanted: string): Piece[] {
  const word = wanted.trim();
  if (word === "") return [{ text, isHit: false }];
  const pattern = new RegExp(`(${word.replaceAll(/[$()*+.?[\\\]^{|}/]/g, "\\$&")})`, "giu");
  return text
    .split(pattern)
    .map((piece, index) => ({ text: piece, isHit: index % 2 === 1 }))
    .filter((piece) => piece.text !== "");
}

/** The segments with what was looked for in their words or in their speaker's name, and how often it stands in the words. */
export function searched(segments: Segment[], wanted: string): { found: Segment[]; hits: number } {
  if (wanted.trim() === "") return { found: segments, hits: 0 };
  const countIn = (text: string) => piecesOf(text, wanted).filter(({ isHit }) => isHit).length;
  const bySpeaker = new Map<string, boolean>();
  let hits = 0;
  const found = segments.filter(({ speaker, text }) => {
    const inText = countIn(text);
    hits += inText;
    const isSpeaker = bySpeaker.get(speaker) ?? countIn(speaker) > 0;
    bySpeaker.set(speaker, isSpeaker);
    return inText > 0 || isSpeaker;
  });
  return { found, hits };
}

/** Minutes and seconds since the first word, with hours where there are any. */
export function clockOf(seconds: number): string {
  const whole = Math.floor(seconds);
  const two = (value: number) => String(value).padStart(2, "0");
  const hours = Math.floor(whole / 3600);
  const minutes = Math.floor(whole / 60) % 60;
  return hours > 0
    ? `${hours}:${two(minutes)}:${two(whole % 60)}`
    : `${minutes}:${two(whole % 60)}`;
}
