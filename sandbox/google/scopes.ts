const prefix = "https://www.googleapis.com/auth/";

// Google's own words on the consent page, shortened. A scope that is not listed here is unknown to the sandbox.
const labels = new Map(
  Object.entries({
    openid: "Associate you with your personal info",
    "userinfo.email": "See your primary e-mail address",
    "userinfo.profile": "See your personal info, including any you have made publicly available",
    calendar: "See, edit, share and permanently delete all your calendars",
    "calendar.readonly": "See and download any calendar you can access",
    "calendar.events": "View and edit events on all your calendars",
    "calendar.events.readonly": "View events on all your calendars",
    "calendar.events.owned": "See, create, change and delete events on calendars you own",
    "calendar.events.owned.readonly": "See the events on calendars you own",
    "calendar.calendarlist": "See, add and remove calendars you are subscribed to",
    "calendar.calendarlist.readonly": "See the list of calendars you are subscribed to",
    "calendar.calendars":
      "See and change the properties of calendars you can access, and create secondary calendars",
    "calendar.calendars.readonly":
      "See the title, description, time zone and other properties of your calendars",
    "calendar.freebusy": "View your availability in your calendars",
    "calendar.settings.readonly": "View your calendar settings",
    drive: "See, edit, create and delete all your files",
    "drive.readonly": "See and download all your files",
    "drive.metadata": "View and manage metadata of your files",
    "drive.metadata.readonly": "See information about your files",
    "drive.file": "See, edit, create and delete only the specific files you use with this app",
    "drive.activity.readonly": "View the activity record of your files",
    "documents.readonly": "See all your documents",
    "https://mail.google.com/": "Read, compose, send and permanently delete all your e-mail",
    "gmail.readonly": "View your e-mail messages and settings",
    "gmail.modify": "Read, compose and send e-mail from your account",
    "gmail.metadata":
      "View your e-mail message metadata such as labels and headers, but not the body",
    "gmail.labels": "See and edit your e-mail labels",
    "gmail.send": "Send e-mail on your behalf",
    "gmail.compose": "Manage drafts and send e-mail",
    "gmail.insert": "Add e-mails into your mailbox",
    "gmail.settings.basic": "See, edit, create or change your e-mail settings and filters",
    pubsub: "View and manage Pub/Sub topics and subscriptions",
    "cloud-platform": "See, edit, configure and delete your Google Cloud data",
  }).map(([name, label]) => [longFormOf(name), label]),
);

// The scopes that come with every sign-in: no check boxes, and no seven-day limit in Testing.
const basic = parseScopes("openid email profile");

/** The scopes of a request, once each, `email` and `profile` in the long form that Google answers with. */
export function parseScopes(text: string): string[] {
  const names = text.split(/\s+/).filter((name) => name !== "");
  const isShort = (name: string) => name === "email" || name === "profile";
  return [...new Set(names.map((name) => (isShort(name) ? `${prefix}userinfo.${name}` : name)))];
}

/** As Google sends scopes back: in an order of its own, not in that of the request. */
export function formatScopes(scopes: readonly string[]): string {
  return scopes.toSorted().join(" ");
}

export function isBasic(scope: string): boolean {
  return basic.includes(scope);
}

export function isKnown(scope: string): boolean {
  return labels.has(scope);
}

/** What a scope allows, in words for the consent page. */
export function labelOf(scope: string): string {
  return labels.get(scope) ?? scope;
}

/** A scope without the prefix that nearly all of them share. */
export function shortName(scope: string): string {
  return scope.startsWith(prefix) ? scope.slice(prefix.length) : scope;
}

function longFormOf(name: string): string {
  return name === "openid" || name.includes("/") ? name : `${prefix}${name}`;
}
