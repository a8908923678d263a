/** A person's initials: no picture is fetched from elsewhere, so nobody learns who looks at what. */
export function Avatar({ name }: { name: string }) {
  return (
    <span className="avatar" aria-hidden="true">
      {initials(name)}
    </span>
  );
}

function initials(name: string): string {
  const words =
    name
      .split("@")[0]
      ?.split(/[\s._-]+/)
      .filter((word) => word !== "") ?? [];
  const chosen = [words[0], words.length > 1 ? words.at(-1) : undefined];
  // By code point: half of a surrogate pair is no letter.
  return chosen
    .map((word) => [...(word ?? "")][0] ?? "")
    .join("")
    .toUpperCase();
}
