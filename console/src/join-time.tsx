import { useId } from "react";
import type { Meeting } from "./api.ts";
import { sendBotAt } from "./bots.ts";
import { Button } from "./button.tsx";
import { dayAfter, dayOf, timeOf } from "./days.ts";
import { describedBy, errorAt, Labelled, Outcome, textOf } from "./field.tsx";
import { useWish } from "./wish.tsx";

const minuteMs = 60_000;
const earliestMs = 60 * minuteMs;

/** When a bot joins, to be set by hand: it is moved to that time, or sent for it where there is none. */
export function JoinTime({ meeting, joinAt }: { meeting: Meeting; joinAt: string | null }) {
  const id = useId();
  const usual = Date.parse(meeting.start_time) - 2 * minuteMs;
  const shown = joinAt ?? Math.max(usual, Date.now() + 5 * minuteMs);
  const moving = useWish((at: Date) => sendBotAt(meeting.id, at));
  const error = errorAt(moving.error, "join_at");
  return (
    <details>
      <summary>
        {joinAt ? `When it joins: ${timeOf(joinAt)}` : "Send one at a time of your own"}
      </summary>
      <form
        className="fields inset"
        onChange={() => !moving.isPending && moving.reset()}
        onSubmit={(event) => {
          event.preventDefault();
          const time = textOf(new FormData(event.currentTarget), "join_at");
          moving.mutate(momentIn(meeting, time));
        }}
      >
        <Labelled
          id={id}
          label="Joins at"
          hint="At most an hour before the meeting begins. By itself it comes two minutes before, and follows the event: change time or link in your calendar, and the bot is moved with it."
          error={error}
        >
          <input
            {...describedBy(id, { hint: "below", error })}
            type="time"
            name="join_at"
            required
            defaultValue={clockOf(shown)}
          />
        </Labelled>
        <Outcome wish={moving} fields={["join_at"]} done="The bot is moved." />
        <div className="actions">
          <Button type="submit" isOff={moving.isPending}>
            {moving.isPending ? "One moment …" : joinAt ? "Move it" : "Send it then"}
          </Button>
        </div>
      </form>
    </details>
  );
}

// The time as such a field takes it.
function clockOf(moment: string | number): string {
  const at = new Date(moment);
  return [at.getHours(), at.getMinutes()].map((part) => String(part).padStart(2, "0")).join(":");
}

// A meeting may begin just after midnight, or last beyond it: the time is that of the day on which it can be.
function momentIn({ start_time, end_time }: Meeting, time: string): Date {
  const day = dayOf(start_time);
  const start = Date.parse(start_time);
  const canBe = (at: Date) => at.getTime() >= start - earliestMs && at < new Date(end_time);
  const [own, ...others] = [day, dayAfter(day, -1), dayAfter(day)].map(
    (one) => new Date(`${one}T${time}`),
  );
  return [own, ...others].find((at) => at && canBe(at)) ?? own ?? new Date(start);
}
