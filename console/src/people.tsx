import { useQuery } from "@tanstack/react-query";
import { type Bot, fetchPeople, type ParticipantEvent } from "./bots.ts";
import { timeOf } from "./days.ts";
import { Tail } from "./tail.tsx";
import { Waiting } from "./waiting.tsx";

type Person = {
  uuid: string;
  name: string;
  isHost: boolean;
  /** Each time they were there; without an end they still are. */
  stays: { from: string; to: string | null }[];
};

/** Who is in a bot's meeting now, and who was, in the order in which they came. */
export function usePeople(bot: Bot) {
  const query = useQuery({
    queryKey: ["bots", bot.id, "people"],
    queryFn: () => fetchPeople(bot.id),
  });
  const people = peopleOf(query.data ?? []);
  const isThere = ({ stays }: Person) => stays.at(-1)?.to === null;
  return {
    query,
    there: bot.is_over ? [] : people.filter(isThere),
    gone: bot.is_over ? people : people.filter((person) => !isThere(person)),
  };
}

/** Who is there, and who left and when. */
export function People({ bot }: { bot: Bot }) {
  const { query, there, gone } = usePeople(bot);
  if (!query.data) return <Waiting query={query} />;
  if (there.length + gone.length === 0) return null;
  return (
    <section className="stacked" aria-labelledby="people">
      <h2 id="people">People</h2>
      {!bot.is_over && there.length === 0 && <p className="empty">Nobody is there now.</p>}
      <PersonList label="There now" people={there} />
      <PersonList label={bot.is_over ? "Who was there" : "Who left"} people={gone} />
    </section>
  );
}

function PersonList({ label, people }: { label: string; people: Person[] }) {
  if (people.length === 0) return null;
  const title = `${label} (${people.length})`;
  return (
    <>
      <h3>{title}</h3>
      <Tail
        label={title}
        className="people"
        items={people}
        most={100}
        isFollowed={false}
        show={(shown) =>
          shown.map(({ uuid, name, isHost, stays }) => (
            <li key={uuid}>
              <span>
                <strong>{name}</strong> {isHost && <span className="badge">host</span>}
              </span>
              <span className="faint">{stays.map(stayWords).join(", ")}</span>
            </li>
          ))
        }
      />
    </>
  );
}

function stayWords({ from, to }: Person["stays"][number]): string {
  return to === null ? `since ${timeOf(from)}` : `${timeOf(from)} to ${timeOf(to)}`;
}

function peopleOf(events: ParticipantEvent[]): Person[] {
  const people = new Map<string, Person>();
  for (const { type, participant_uuid: uuid, participant_name, is_host, at } of events) {
    if (type !== "join" && type !== "leave") continue;
    const person = people.get(uuid) ?? { uuid, name: "Somebody", isHost: false, stays: [] };
    people.set(uuid, person);
    person.name = participant_name ?? person.name;
    person.isHost ||= is_host;
    const last = person.stays.at(-1);
    const isThere = last?.to === null;
    if (type === "join" && !isThere) person.stays.push({ from: at, to: null });
    // Whoever was there before the bot came is first heard of when they leave.
    if (type === "leave" && !last) person.stays.push({ from: at, to: at });
    else if (type === "leave" && last && isThere) last.to = at;
  }
  return [...people.values()];
}
