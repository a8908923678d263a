import { useState } from "react";
import type { Meeting } from "./api.ts";
import { type BotPreferences, configureBot, recordings } from "./bots.ts";
import { Button } from "./button.tsx";
import { Choice, errorAt, Field, Outcome, textOf } from "./field.tsx";
import { Link } from "./router.tsx";
import { useWish } from "./wish.tsx";

const shown = ["bot_name", "bot_chat_message", "language", "recording", "share", "minutes_early"];
// The older product's words, which those above take the place of.
const older = ["transcription_language", "recording_enabled"];

/** How the bot is to be in one meeting. Only what is set is kept: the rest is as in the person's preferences. */
export function BotSettings({ meeting }: { meeting: Meeting }) {
  const kept = meeting.bot_configuration ?? {};
  const saving = useWish((form: FormData) => configureBot(meeting.id, configurationOf(kept, form)));
  const error = (name: string) => errorAt(saving.error, name);
  return (
    <details>
      <summary>How it is in this meeting</summary>
      <form
        className="fields inset"
        onChange={() => !saving.isPending && saving.reset()}
        onSubmit={(event) => {
          event.preventDefault();
          saving.mutate(new FormData(event.currentTarget));
        }}
      >
        <p className="faint">
          What you leave open is as in <Link href="/assistant">your preferences</Link>.
        </p>
        <BotFields wanted={wantedOf(kept)} usual="As in your preferences" error={saving.error} />
        <Choice
          name="share"
          label="Whose it is"
          hint="Others here who are in the same meeting share one bot, unless somebody wants their own."
          value={kept.share === false ? "own" : ""}
          options={[
            ["", "One bot for everybody here"],
            ["own", "A bot of my own"],
          ]}
          error={error("share")}
        />
        <Field
          name="minutes_early"
          label="Minutes before the start"
          hint="Two by itself; a negative number for later."
          most={8}
          value={textIn(kept.minutes_early)}
          error={error("minutes_early")}
        />
        <Outcome wish={saving} fields={shown} done="Saved: that is how the bot is to be." />
        <div className="actions">
          <Button type="submit" isOff={saving.isPending}>
            {saving.isPending ? "Saving …" : "Save"}
          </Button>
        </div>
      </form>
    </details>
  );
}

type Wanted = Omit<BotPreferences, "all_meetings">;

/** Name, greeting, language and recording, as a meeting and a person's preferences both have them. */
export function BotFields({
  wanted,
  usual,
  error,
}: {
  wanted: Wanted;
  usual: string;
  error: Error | null;
}) {
  const [greeting, setGreeting] = useState(greetingKind(wanted.greeting));
  return (
    <>
      <Field
        name="bot_name"
        label="Name"
        most={100}
        value={wanted.bot_name ?? ""}
        placeholder={usual}
        error={errorAt(error, "bot_name")}
      />
      <Choice
        name="greeting_kind"
        label="What it writes when it comes"
        value={greeting}
        options={[
          ["usual", usual],
          ["none", "Nothing"],
          ["own", "My own words"],
        ]}
        onChange={setGreeting}
      />
      {greeting === "own" && (
        <Field
          name="greeting"
          label="Greeting"
          most={2_000}
          rows={2}
          isRequired
          value={wanted.greeting ?? ""}
          error={errorAt(error, "greeting", "bot_chat_message")}
        />
      )}
      <Field
        name="language"
        label="Language"
        hint="Such as en-US or de. Left empty, it is the meeting’s own."
        most={30}
        value={wanted.language ?? ""}
        placeholder={usual}
        error={errorAt(error, "language")}
      />
      <Choice
        name="recording"
        label="Recording"
        value={wanted.recording ?? ""}
        options={[
          ["", usual],
          ["video", "Video"],
          ["audio", "Sound only"],
          ["none", "None, only the words"],
        ]}
        error={errorAt(error, "recording")}
      />
    </>
  );
}

/** What {@link BotFields} were filled with; null for what was left open. */
export function botFieldsOf(form: FormData): Wanted {
  const kind = textOf(form, "greeting_kind");
  const greeting = { none: "", own: textOf(form, "greeting") }[kind];
  return {
    bot_name: textOf(form, "bot_name") || null,
    greeting: greeting ?? null,
    language: textOf(form, "language") || null,
    recording: recordings.find((one) => one === textOf(form, "recording")) ?? null,
  };
}

function greetingKind(greeting: string | null): string {
  if (greeting === null) return "usual";
  return greeting === "" ? "none" : "own";
}

type Configuration = Record<string, unknown>;

function wantedOf(kept: Configuration): Wanted {
  const written = kept.bot_chat_message;
  const message = isObject(written) ? written.message : written;
  const refused = kept.recording_enabled === false ? "none" : null;
  return {
    bot_name: textIn(kept.bot_name) || null,
    greeting: typeof message === "string" ? message : null,
    language: textIn(kept.language ?? kept.transcription_language) || null,
    recording: recordings.find((one) => one === kept.recording) ?? refused,
  };
}

// What others wrote there stays; what was left open is not said.
function configurationOf(kept: Configuration, form: FormData): Configuration | null {
  const { greeting, ...wanted } = botFieldsOf(form);
  const minutes = textOf(form, "minutes_early");
  const said: Configuration = {
    ...wanted,
    bot_chat_message: greeting,
    share: textOf(form, "share") === "own" ? false : null,
    // What is no number is sent as it is, for the API to say so.
    minutes_early:
      minutes === "" ? null : Number.isNaN(Number(minutes)) ? minutes : Number(minutes),
  };
  const others = Object.entries(kept).filter(([name]) => ![...shown, ...older].includes(name));
  const set = [...others, ...Object.entries(said).filter(([, value]) => value !== null)];
  return set.length > 0 ? Object.fromEntries(set) : null;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null;
}

function textIn(value: unknown): string {
  return typeof value === "string" || typeof value === "number" ? String(value) : "";
}
