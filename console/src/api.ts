/** What the console knows of the API: the calls it makes, and the shapes it reads. */
export type Me = {
  user: {
    id: string;
    email: string;
    name: string | null;
    username: string | null;
    virtual_address: string | null;
  };
  connections: Connection[];
  notices: { code: string; text: string }[];
  /** All that this answer and later ones may miss is told of after it. */
  last_event_id: string;
};

export type Connection = {
  id: string;
  email: string | null;
  name: string | null;
  is_sign_in: boolean;
  state: "active" | "reconnect_needed";
  state_reason: "grant_dead" | "disconnected" | "no_refresh_token" | null;
  state_text: string;
  capabilities: {
    name: "calendar" | "gmail" | "drive";
    granted: boolean;
    missing_scopes: string[];
  }[];
  last_refreshed_at: string | null;
  connected_at: string;
};

export type CalendarEvent = {
  id: string;
  title: string;
  calendar_title: string | null;
  location: string | null;
  start_time: string;
  end_time: string;
  all_day: boolean;
  start_date: string | null;
  end_date: string | null;
  status: string | null;
  event_type: string;
  response_status: string | null;
  attendees: Attendee[];
  meeting_url: string | null;
  meeting_provider: string | null;
};

type Attendee = { email?: string | null; displayName?: string | null; self?: boolean };

export type Meeting = {
  id: string;
  title: string;
  meeting_url: string | null;
  meeting_provider: string | null;
  start_time: string;
  end_time: string;
  status: "upcoming" | "running" | "over" | "cancelled";
  event_status: string | null;
  attendees: Attendee[];
  project_id: string | null;
  wants_bot: boolean | null;
  bot_id: string | null;
  bot_status: string | null;
  bot_configuration: Record<string, unknown> | null;
  auto_scheduled_via_email: boolean;
};

export type MeetingStatus = "coming" | "over" | "cancelled";

export type Feed = {
  id: string;
  connection_id: string;
  kind: "calendar_list" | "calendar" | "gmail" | "drive";
  resource: string;
  title: string | null;
  is_primary: boolean;
  state: "active" | "paused" | "stopped";
  reading: { name: string; seen: number } | null;
  last_full_count: number | null;
  last_success_at: string | null;
  next_at: string | null;
  why: string;
  failures: number;
  last_error: string | null;
  push: { state: string; text: string; missed: number };
};

export type Document = {
  id: string;
  title: string | null;
  author: string | null;
  summary: string | null;
  source: string | null;
  source_url: string | null;
  project_id: string | null;
  project_name: string | null;
  tags: string[];
  classification_status: string | null;
  is_project_chosen: boolean;
  received_at: string | null;
  created_at: string | null;
};

export type WholeDocument = Document & {
  text: string | null;
  quoted: string | null;
  signature: string | null;
  cut: string | null;
  recipients: { type?: string; name?: string | null; address?: string }[];
  attachments: { name?: string; type?: string; size?: number }[];
  links: FileLink[];
};

/** A file of Google Drive that a mail links to. */
export type FileLink = {
  file_id: string;
  state: "waiting" | "followed" | "unseen" | "stopped";
  reason: string | null;
  document_id: string | null;
  title: string | null;
};

/** A file or folder of Google Drive that is followed. */
export type WatchedFile = {
  id: string;
  file_id: string;
  document_id: string | null;
  name: string;
  url: string | null;
  account: string | null;
  origin: "subscribed" | "folder" | "shared" | "linked";
  is_folder: boolean;
  state: "active" | "trashed" | "removed" | "lost" | "stopped";
  state_reason: string | null;
  is_pushed: boolean;
  last_changed_at: string | null;
  last_checked_at: string | null;
  read_error: string | null;
  created_at: string;
};

export type DocumentWhy = {
  taken: { reason: string; decided_at: string } | null;
  project: { decision: string; reason: string; confidence: number | null };
};

export type Delivery = {
  id: string;
  state: "waiting" | "delivered" | "dead";
  tries: number;
  next_try_at: string | null;
  last_error: string | null;
  occurred_at: string;
  log: { number: number; started_at: string; status: number | null; error: string | null }[];
};

export type Project = {
  id: string;
  name: string;
  description: string | null;
  status: string | null;
  notes: string | null;
  normalized_tags: string[];
  categories: string[];
  reference_keywords: string[];
  /** Whatever the years have left there. */
  entity_patterns: object | null;
  classification_signals: object | null;
  updated_at: string | null;
};

export type WholeProject = Project & { onboarding: Onboarding | null };

/** What a person writes of a project in the onboarding form. */
export type Summary = {
  project_name: string;
  overview: string;
  keywords: string[];
  deliverables: string;
  contacts: { internal_lead: string; agency_lead: string; client_lead: string };
  shoot_date: string;
  location: string;
  references: string;
};

export type Onboarding = {
  id: string;
  project_id: string;
  state: "waiting" | "drafting" | "checking" | "stored" | "failed";
  summary: Summary;
  corrections: string[];
  error: string | null;
  model: string | null;
  input_tokens: number;
  output_tokens: number;
  duration_ms: number | null;
  updated_at: string;
};

export const projectStates = ["active", "in_progress", "archived"] as const;

/** What classification works from, whole: as it is stored by hand. */
export type Metadata = {
  name: string;
  description: string;
  status: (typeof projectStates)[number];
  notes: string;
  normalized_tags: string[];
  categories: string[];
  reference_keywords: string[];
  entity_patterns: {
    people: Record<string, { role: string }>;
    locations: string[];
    domains: string[];
    project_codes: string[];
  };
  classification_signals: {
    temporal_relevance: { active_period: [string, string] | null };
    content_types: string[];
    confidence_thresholds: {
      email: { subject_match: number; content_match: number };
      gdrive: { filename_match: number; content_match: number };
    };
  };
};

/** Which documents are listed: `none` as a project means those in no project. */
export type DocumentFilter = { q: string; project: string; classification: string };

export type Held = {
  id: string;
  subject: string | null;
  sender: string | null;
  reason: string;
  received_at: string | null;
};

export type Detection = {
  id: string;
  virtual_email: string;
  email_type: string;
  detected_at: string | null;
  document_id: string | null;
};

export const trustModes = ["only_me", "my_domain", "list", "anyone"] as const;
export type Trust = { mode: (typeof trustModes)[number]; senders: string[] };

/** One page of a list. */
export type List<Item> = { items: Item[]; next_cursor: string | null };

type FieldError = { path: string; message: string };

/** A refusal of the API, in its own words. Status 0: it could not be reached. */
export class ApiError extends Error {
  override readonly name = "ApiError";
  readonly status: number;
  /** What is wrong with which field, where the API says. */
  readonly fields: FieldError[];

  constructor(status: number, message: string, fields: FieldError[] = []) {
    super(message);
    this.status = status;
    this.fields = fields;
  }

  /** Whether the same call may well succeed a moment later. */
  get isPassing(): boolean {
    return this.status === 0 || this.status >= 500;
  }
}

/** Where the API is. */
export const base = "/api/v1";
const timeoutMs = 40_000;

/** Who is signed in, or null. @throws {ApiError} */
export async function fetchMe(): Promise<Me | null> {
  try {
    return await call<Me>("GET", "/me");
  } catch (error) {
    if (error instanceof ApiError && error.status === 401) return null;
    throw error;
  }
}

/** The events of a span of time, of all calendars, by start. @throws {ApiError} */
export async function fetchEvents({
  from,
  to,
}: {
  from: Date;
  to: Date;
}): Promise<CalendarEvent[]> {
  return listAll("/calendar/events", { from: from.toISOString(), to: to.toISOString() });
}

/** One page of meetings, coming ones the earliest first, others the latest first; `hasBot` may be "true" or "false". @throws {ApiError} */
export function fetchMeetings(
  { status, hasBot }: { status: MeetingStatus; hasBot: string },
  cursor: string,
): Promise<List<Meeting>> {
  const query = new URLSearchParams({ limit: "50", ...(cursor ? { cursor } : {}) });
  if (hasBot) query.set("has_bot", hasBot);
  if (status === "coming") query.set("from", startOfMinute().toISOString());
  else {
    query.set("status", status);
    query.set("order", "desc");
  }
  return call("GET", `/meetings?${query}`);
}

export const wantBot = (id: string, wish: boolean | null) =>
  call<Meeting>("PATCH", `/meetings/${id}`, { wants_bot: wish });
export const fetchMeeting = (id: string) => call<Meeting>("GET", `/meetings/${id}`);
export const fetchFeeds = async () => (await call<{ items: Feed[] }>("GET", "/sync/feeds")).items;
export const syncFeed = (id: string, full: boolean) =>
  call<Feed>("POST", `/sync/feeds/${id}/sync?wait=true`, { full });
export const followFeed = (id: string, wish: boolean) =>
  call<Feed>("PATCH", `/sync/feeds/${id}`, { is_wanted: wish });

/** One page of documents, the latest first. @throws {ApiError} */
export function fetchDocuments(filter: DocumentFilter, cursor: string): Promise<List<Document>> {
  const query = new URLSearchParams({ limit: "30" });
  const set = (name: string, value: string) => value && query.set(name, value);
  set("q", filter.q);
  set("project_id", filter.project);
  set("classification", filter.classification);
  set("cursor", cursor);
  return call("GET", `/documents?${query}`);
}

export const fetchDocument = (id: string) => call<WholeDocument>("GET", `/documents/${id}`);
export const fetchDocumentWhy = (id: string) => call<DocumentWhy>("GET", `/documents/${id}/why`);
export const moveDocument = (id: string, projectId: string | null) =>
  call<WholeDocument>("PATCH", `/documents/${id}`, { project_id: projectId });
export const classifyDocument = (id: string) => change("POST", `/documents/${id}/classify`);
export const fetchDeliveries = async (documentId: string) =>
  (await call<List<Delivery>>("GET", `/deliveries?document_id=${documentId}&limit=50`)).items;
/** One page of the files that are followed, the latest first. @throws {ApiError} */
export function fetchFiles(cursor: string): Promise<List<WatchedFile>> {
  const query = new URLSearchParams({ limit: "30", ...(cursor ? { cursor } : {}) });
  return call("GET", `/drive/files?${query}`);
}

export const followFile = (fileId: string) =>
  change("POST", "/drive/subscribe", { file_id: fileId });
export const stopFile = (fileId: string) => change("DELETE", `/drive/subscribe/${fileId}`);
export const checkFile = (fileId: string) =>
  call<{ action: "updated" | "deleted" | "restored" | "none" }>(
    "POST",
    `/drive/check-changes/${fileId}`,
  );
export const resendDelivery = (id: string) => change("POST", `/deliveries/${id}/resend`);
export const fetchProjects = () => listAll<Project>("/projects");

/** One page of projects by name: the archived ones, or all others. @throws {ApiError} */
export function fetchProjectPage(isArchived: boolean, cursor: string): Promise<List<Project>> {
  const query = new URLSearchParams({ limit: "50", ...(cursor ? { cursor } : {}) });
  if (isArchived) query.set("status", "archived");
  return call("GET", `/projects?${query}`);
}

export const fetchProject = (id: string) => call<WholeProject>("GET", `/projects/${id}`);
export const createProject = (project: {
  name: string;
  description?: string;
  reference_keywords?: string[];
}) => change<Project>("POST", "/projects", project);
export const changeProject = (id: string, status: Metadata["status"]) =>
  call<Project>("PATCH", `/projects/${id}`, { status });
export const deleteProject = (id: string) => change("DELETE", `/projects/${id}`);
export const onboardProject = (projectId: string, summary: Summary) =>
  change<{ onboarding: Onboarding }>("POST", "/ai/project-onboarding", {
    project_id: projectId,
    summary,
  });
export const storeMetadata = (id: string, metadata: Metadata) =>
  call<Project>("PUT", `/ai/update-metadata/${id}`, { metadata });

/** One page of a project's meetings, the earliest first. @throws {ApiError} */
export function fetchProjectMeetings(projectId: string, cursor: string): Promise<List<Meeting>> {
  const query = new URLSearchParams({ project_id: projectId, limit: "30" });
  if (cursor) query.set("cursor", cursor);
  return call("GET", `/meetings?${query}`);
}

export const moveMeeting = (id: string, projectId: string | null) =>
  call<Meeting>("PATCH", `/meetings/${id}`, { project_id: projectId });

export const fetchUsernameAvailable = (username: string) =>
  call<{ available: boolean; reason: string | null }>(
    "GET",
    `/user/username/available?${new URLSearchParams({ username })}`,
  );
export const chooseUsername = (username: string) => change("POST", "/user/username", { username });
export const fetchTrust = () => call<Trust>("GET", "/email/trust");
export const setTrust = (trust: Trust) => call<Trust>("PUT", "/email/trust", trust);
export const fetchHeld = async () => (await call<List<Held>>("GET", "/email/held?limit=100")).items;
export const decideHeld = (id: string, wish: "accept" | "refuse") =>
  change("POST", `/email/held/${id}/${wish}`);
export const fetchDetections = async () =>
  (await call<List<Detection>>("GET", "/email/detections?limit=50")).items;

export const signOut = () => change("DELETE", "/auth/session");
export const deleteEverything = () => change("DELETE", "/me");
export const disconnect = (connectionId: string) =>
  change("POST", "/auth/google/token/revoke", { connection_id: connectionId });

/** Where to go to sign in, to connect a further account, or to reconnect one. Signing in leads back to where one is. */
export function googleUrl(connect?: { connectionId?: string }): string {
  const here = location.pathname + location.search;
  // What the API would refuse must not stand in the way of signing in.
  const back = /^\/(?!\/).{0,499}$/.test(here) ? here : "/";
  const query = new URLSearchParams({ return_to: connect ? "/connections" : back });
  if (connect) query.set("purpose", "connect");
  if (connect?.connectionId) query.set("connection_id", connect.connectionId);
  return `${base}/auth/google/login?${query}`;
}

/** Where changes are told of as they happen, those since an event first. */
export const eventsUrl = (lastEventId: string) => `${base}/events?after=${lastEventId}`;

export const exportUrl = `${base}/me/export`;

// For what is shown whole, such as a day or a choice.
async function listAll<Item>(path: string, bounds: Record<string, string> = {}): Promise<Item[]> {
  const query = new URLSearchParams({ ...bounds, limit: "200" });
  const items: Item[] = [];
  for (;;) {
    const page = await call<List<Item>>("GET", `${path}?${query}`);
    items.push(...page.items);
    if (page.next_cursor === null) return items;
    query.set("cursor", page.next_cursor);
  }
}

// Pages of one list must be asked for with the same bounds.
function startOfMinute(): Date {
  return new Date(Math.floor(Date.now() / 60_000) * 60_000);
}

const underWay = new Map<string, Promise<unknown>>();

/**
 * Asks the API for a change. The second half of a double click comes before the button looks disabled: it shares the
 * first one's answer. @throws {ApiError}
 */
export function change<Answer = void>(
  method: string,
  path: string,
  body?: object,
): Promise<Answer> {
  const key = JSON.stringify([method, path, body]);
  const begun = (underWay.get(key) as Promise<Answer>) ?? call<Answer>(method, path, body);
  underWay.set(key, begun);
  return begun.finally(() => underWay.delete(key));
}

/** Asks the API. @throws {ApiError} */
export async function call<Answer>(method: string, path: string, body?: object): Promise<Answer> {
  const request = body
    ? { headers: { "content-type": "application/json" }, body: JSON.stringify(body) }
    : {};
  const signal = AbortSignal.timeout(timeoutMs);
  const answer = await fetch(base + path, { method, signal, ...request }).catch(() => {
    throw new ApiError(0, "Daybook cannot be reached. Check your network, then try again.");
  });
  if (answer.ok) return answer.status === 204 ? (undefined as Answer) : answer.json();
  const problem: { detail?: string; errors?: FieldError[] } = await answer.json().catch(() => ({}));
  const { detail = `Daybook answered ${answer.status}.`, errors } = problem;
  throw new ApiError(answer.status, detail, errors);
}
