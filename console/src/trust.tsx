import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useContext, useId, useState } from "react";
import { fetchTrust, setTrust, type Trust, trustModes } from "./api.ts";
import { Button } from "./button.tsx";
import { Say } from "./message.tsx";
import { Failure } from "./waiting.tsx";

const words: Record<Trust["mode"], string> = {
  only_me: "Only me",
  my_domain: "Everybody at my domain",
  list: "Me, and those I name",
  anyone: "Anybody",
};

/** Whose mail to the assistant counts, besides what is found in its owner's own mailbox. */
export function WhoMayUse() {
  const trust = useQuery({ queryKey: ["trust"], queryFn: fetchTrust });
  return (
    <section className="stacked" aria-labelledby="trust">
      <h2 id="trust">Who may use it</h2>
      <p className="faint">
        A mail in your own mailbox always counts. Of others, those count that provably come from
        whom you let; the rest, and what is only in another user's mailbox, wait here for you.
      </p>
      <Failure query={trust} />
      {trust.data && <Choice trust={trust.data} />}
    </section>
  );
}

function Choice({ trust }: { trust: Trust }) {
  const queries = useQueryClient();
  const say = useContext(Say);
  const id = useId();
  const [mode, setMode] = useState(trust.mode);
  const [names, setNames] = useState(trust.senders.join("\n"));
  const [known, setKnown] = useState(trust);
  if (known !== trust) {
    // Saved, here or in another window: what is chosen here follows it.
    setKnown(trust);
    setMode(trust.mode);
    setNames(trust.senders.join("\n"));
  }
  const senders = names.split(/[\s,;]+/).filter(Boolean);
  const saving = useMutation({
    mutationFn: () => setTrust({ mode, senders }),
    onSuccess: (saved) => {
      queries.setQueryData(["trust"], saved);
      say({
        tone: "good",
        text: `Saved. Who may use it: ${words[saved.mode]}.`,
      });
    },
  });
  const isSame = mode === trust.mode && senders.join("\n") === trust.senders.join("\n");
  return (
    <form
      onSubmit={(event) => {
        event.preventDefault();
        saving.mutate();
      }}
    >
      <fieldset className="radios" aria-labelledby="trust">
        {trustModes.map((value) => (
          <label key={value}>
            <input
              type="radio"
              name={id}
              checked={mode === value}
              onChange={() => setMode(value)}
            />
            {words[value]}
          </label>
        ))}
      </fieldset>
      {mode === "list" && (
        <>
          <label htmlFor={`${id}-names`}>Addresses, or @ and a domain, one a line</label>
          <textarea
            id={`${id}-names`}
            rows={4}
            spellCheck={false}
            value={names}
            onChange={({ target }) => setNames(target.value)}
          />
        </>
      )}
      {saving.isError && (
        <p className="notice warn" role="alert">
          {saving.error.message}
        </p>
      )}
      <Button type="submit" isOff={isSame || saving.isPending}>
        {saving.isPending ? "Saving …" : "Save"}
      </Button>
    </form>
  );
}
