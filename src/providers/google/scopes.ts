/** What a connection can be used for, each with the scopes that allow it. */
export type Capability = "calendar" | "gmail" | "drive";

const prefix = "https://www.googleapis.com/auth/";
const scope = (name: string) => `${prefix}${name}`;

/** What every sign-in asks for: who the person is, and read access to what Daybook follows. */
export const wantedScopes: readonly string[] = [
  "openid",
  scope("userinfo.email"),
  scope("userinfo.profile"),
  scope("calendar.readonly"),
  scope("gmail.readonly"),
  scope("drive.readonly"),
];

// Any one of these sets is enough; a broader scope covers a narrower need. The first is what we ask for.
// Source: the `scopes` of each method in Google's discovery documents.
const enough: Record<Capability, string[][]> = {
  calendar: [
    [scope("calendar.readonly")],
    [scope("calendar")],
    [scope("calendar.events.readonly"), scope("calendar.calendarlist.readonly")],
    [scope("calendar.events"), scope("calendar.calendarlist.readonly")],
  ],
  gmail: [[scope("gmail.readonly")], [scope("gmail.modify")], ["https://mail.google.com/"]],
  drive: [[scope("drive.readonly")], [scope("drive")]],
};

const longForm: Record<string, string> = {
  email: scope("userinfo.email"),
  profile: scope("userinfo.profile"),
};

/** The scopes of Google's answer as a sorted set. Google returns `email` and `profile` in their long form. */
export function parseScopes(text: string | null | undefined): string[] {
  const names = (text ?? "").split(/\s+/).filter((name) => name !== "");
  return [...new Set(names.map((name) => longForm[name] ?? name))].sort();
}

/** What of `wantedScopes` was not granted, directly or by a broader scope. */
export function missingScopes(granted: readonly string[]): string[] {
  const allowed = new Set(
    capabilities(granted)
      .flatMap(({ granted: is, name }) => (is ? enough[name] : []))
      .flat(),
  );
  return wantedScopes.filter((name) => !granted.includes(name) && !allowed.has(name));
}

/** Which capabilities a set of granted scopes allows, and what would have to be granted for the others. */
export function capabilities(
  granted: readonly string[],
): { name: Capability; granted: boolean; missingScopes: string[] }[] {
  return (Object.keys(enough) as Capability[]).map((name) => {
    const isGranted = enough[name].some((set) => set.every((one) => granted.includes(one)));
    const missing = (enough[name][0] ?? []).filter((one) => !granted.includes(one));
    return { name, granted: isGranted, missingScopes: isGranted ? [] : missing };
  });
}
