import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useContext } from "react";
import { decideHeld, fetchHeld, type Held } from "./api.ts";
import { Button } from "./button.tsx";
import { Say } from "./message.tsx";
import { Moment } from "./moment.tsx";
import { Failure } from "./waiting.tsx";

/** Mails that name the assistant and come from somebody whom its owner has not let: they wait, unread. */
export function HeldMails() {
  const held = useQuery({ queryKey: ["held"], queryFn: fetchHeld });
  if (held.data === undefined) return <Failure query={held} />;
  if (held.data.length === 0) return null;
  return (
    <section className="stacked" aria-labelledby="held">
      <h2 id="held">Waiting for you</h2>
      <p className="faint">
        These mails name your assistant. Nothing but their headers was read, until you take them.
      </p>
      <ul className="plain">
        {held.data.map((mail) => (
          <HeldRow key={mail.id} mail={mail} />
        ))}
      </ul>
    </section>
  );
}

function HeldRow({ mail }: { mail: Held }) {
  const queries = useQueryClient();
  const say = useContext(Say);
  const title = mail.subject || "Without a subject";
  const deciding = useMutation({
    mutationFn: (wish: "accept" | "refuse") => decideHeld(mail.id, wish),
    onSuccess: async (_, wish) => {
      await queries.invalidateQueries({ queryKey: ["held"] });
      const done = wish === "accept" ? "becomes a document" : "was refused";
      say({ tone: "good", text: `“${title}” ${done}.` });
    },
    onError: (error) => say({ tone: "warn", text: `“${title}”: ${error.message}` }),
  });
  return (
    <li aria-label={title}>
      <strong>{title}</strong>
      <p className="faint">
        {mail.sender}
        {mail.received_at && (
          <>
            , <Moment at={mail.received_at} />
          </>
        )}
      </p>
      <p className="faint">{mail.reason}.</p>
      <div className="actions">
        <Button isOff={deciding.isPending} onClick={() => deciding.mutate("accept")}>
          Take
        </Button>
        <Button
          className="danger"
          isOff={deciding.isPending}
          onClick={() => deciding.mutate("refuse")}
        >
          Refuse
        </Button>
      </div>
    </li>
  );
}
