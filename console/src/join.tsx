const names: Record<string, string> = {
  google_meet: "Google Meet",
  zoom: "Zoom",
  teams: "Teams",
  webex: "Webex",
};

type JoinProps = { url: string; provider: string | null; title: string; isPrimary: boolean };

/** The way into a meeting. Only addresses that open a page are links: others could run something. */
export function Join({ url, provider, title, isPrimary }: JoinProps) {
  if (!/^https?:\/\//i.test(url)) return null;
  const name = names[provider ?? ""] ?? "the meeting";
  return (
    <a
      className={isPrimary ? "button primary" : "button"}
      href={url}
      target="_blank"
      rel="noreferrer noopener"
      aria-label={`Join ${name}: ${title}`}
    >
      {provider && names[provider] ? `Join ${names[provider]}` : "Join"}
    </a>
  );
}
