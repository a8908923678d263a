import { useQuery, useQueryClient } from "@tanstack/react-query";
import { BotFields, botFieldsOf } from "./bot-settings.tsx";
import { type BotPreferences, fetchBotPreferences, setBotPreferences } from "./bots.ts";
import { Button } from "./button.tsx";
import { Outcome } from "./field.tsx";
import { Waiting } from "./waiting.tsx";
import { useWish } from "./wish.tsx";

/** What a person wants of bots in all of their meetings: whether one comes, and how it is. */
export function Preferences() {
  const preferences = useQuery({ queryKey: ["bot preferences"], queryFn: fetchBotPreferences });
  if (!preferences.data) return <Waiting query={preferences} />;
  return (
    <section className="stacked" aria-labelledby="preferences">
      <h2 id="preferences">Bots in your meetings</h2>
      <Form preferences={preferences.data} />
    </section>
  );
}

function Form({ preferences }: { preferences: BotPreferences }) {
  const queries = useQueryClient();
  const saving = useWish(async (wanted: BotPreferences) =>
    queries.setQueryData(["bot preferences"], await setBotPreferences(wanted)),
  );
  return (
    <form
      className="fields"
      onChange={() => !saving.isPending && saving.reset()}
      onSubmit={(event) => {
        event.preventDefault();
        const form = new FormData(event.currentTarget);
        saving.mutate({ all_meetings: form.has("all_meetings"), ...botFieldsOf(form) });
      }}
    >
      <div>
        <label className="tick">
          <input
            type="checkbox"
            name="all_meetings"
            aria-describedby="which"
            defaultChecked={preferences.all_meetings}
          />
          Send a bot to all my meetings
        </label>
        <p id="which" className="faint">
          That is, to meetings in your own calendar to which others are invited, unless you declined
          or the event is private. To any other meeting a bot comes when you ask for one, or when
          your assistant is invited.
        </p>
      </div>
      <BotFields wanted={preferences} usual="As usual" error={saving.error} />
      <Outcome
        wish={saving}
        fields={["bot_name", "greeting", "language", "recording"]}
        done="Saved. Every coming meeting is decided anew."
      />
      <div className="actions">
        <Button type="submit" isOff={saving.isPending}>
          {saving.isPending ? "Saving …" : "Save"}
        </Button>
      </div>
    </form>
  );
}
