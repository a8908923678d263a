/** The beginning of a text, without half of the character that it is cut in: PostgreSQL takes no JSON with one. */
export function beginningOf(text: string, longest: number): string {
  const cut = text.slice(0, longest);
  return /[\ud800-\udbff]$/.test(cut) ? cut.slice(0, -1) : cut;
}

/** A text without case and accents, to be compared with others. */
export function fold(text: string): string {
  return text.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase();
}
