import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useContext, useId, useState } from "react";
import {
  chooseUsername,
  type Detection,
  fetchDetections,
  fetchUsernameAvailable,
  type Me,
} from "./api.ts";
import { Button } from "./button.tsx";
import { HeldMails } from "./held.tsx";
import { Say } from "./message.tsx";
import { Moment } from "./moment.tsx";
import { Preferences } from "./preferences.tsx";
import { Link } from "./router.tsx";
import { WhoMayUse } from "./trust.tsx";
import { Failure } from "./waiting.tsx";

/** The assistant's address, who may use it, its bots, what waits for its owner, and where it was seen. */
export function Assistant({ me }: { me: Me }) {
  const { username, virtual_address } = me.user;
  return (
    <>
      <div className="title">
        <h1>Assistant</h1>
      </div>
      {username === null ? (
        <>
          <ChooseUsername />
          <Preferences />
        </>
      ) : (
        <>
          <Address address={virtual_address} />
          <HeldMails />
          <WhoMayUse />
          <Preferences />
          <Detections />
        </>
      )}
    </>
  );
}

function ChooseUsername() {
  const queries = useQueryClient();
  const id = useId();
  const [name, setName] = useState("");
  const wished = name.trim();
  const check = useQuery({
    queryKey: ["username", wished],
    queryFn: () => fetchUsernameAvailable(wished),
    enabled: wished.length > 0,
    placeholderData: (before) => before,
  });
  const choosing = useMutation({
    mutationFn: () => chooseUsername(wished),
    onSuccess: () => queries.invalidateQueries({ queryKey: ["me"] }),
  });
  const isFree = wished !== "" && check.data?.available === true;
  const hint =
    choosing.error?.message ??
    check.error?.message ??
    check.data?.reason ??
    (isFree ? "It is free." : "3 to 30 letters and digits, beginning with a letter.");
  return (
    <section className="stacked" aria-labelledby={`${id}-title`}>
      <h2 id={`${id}-title`}>Choose a username</h2>
      <p>
        Your assistant’s address is made of it. Copy that address on a mail, and the mail becomes a
        document; invite it to a meeting, and a bot comes along. A username is chosen once.
      </p>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          choosing.mutate();
        }}
      >
        <label htmlFor={id}>Username</label>
        <input
          id={id}
          value={name}
          maxLength={30}
          autoComplete="off"
          autoCapitalize="none"
          spellCheck={false}
          aria-describedby={`${id}-hint`}
          onChange={({ target }) => {
            choosing.reset();
            setName(target.value);
          }}
        />
        <p id={`${id}-hint`} className="faint" role="status">
          {hint}
        </p>
        <Button type="submit" className="primary" disabled={!isFree} isOff={choosing.isPending}>
          {choosing.isPending ? "One moment …" : "Choose it"}
        </Button>
      </form>
    </section>
  );
}

function Address({ address }: { address: string | null }) {
  const say = useContext(Say);
  if (!address) {
    return (
      <p className="empty">
        The assistant has no address yet. Whoever runs this Daybook sets VIRTUAL_EMAIL_ADDRESS.
      </p>
    );
  }
  const copy = () =>
    navigator.clipboard.writeText(address).then(
      () => say({ tone: "good", text: `${address} is on your clipboard.` }),
      () => say({ tone: "warn", text: "The browser did not let it be copied; select it instead." }),
    );
  return (
    <section className="stacked" aria-labelledby="address">
      <h2 id="address">Its address</h2>
      <div className="actions">
        <code className="address">{address}</code>
        <button type="button" onClick={copy}>
          Copy
        </button>
      </div>
      <p className="faint">
        Copy it on a mail, and the mail becomes a <Link href="/documents">document</Link>. Invite it
        to a meeting, and a bot comes along.
      </p>
    </section>
  );
}

const places: Record<string, string> = { to: "To", cc: "Cc", bcc: "Bcc" };

function Detections() {
  const detections = useQuery({ queryKey: ["detections"], queryFn: fetchDetections });
  return (
    <section className="stacked" aria-labelledby="detections">
      <h2 id="detections">Where it was seen</h2>
      <Failure query={detections} />
      {detections.data?.length === 0 && <p className="empty">Nowhere yet.</p>}
      <ul className="plain">
        {detections.data?.map((detection) => (
          <DetectionRow key={detection.id} detection={detection} />
        ))}
      </ul>
    </section>
  );
}

function DetectionRow({ detection }: { detection: Detection }) {
  const { virtual_email, email_type, detected_at, document_id } = detection;
  return (
    <li className="row">
      <span>
        {places[email_type] ?? email_type} <code>{virtual_email}</code>{" "}
        {detected_at && (
          <span className="faint">
            <Moment at={detected_at} />
          </span>
        )}
      </span>
      {document_id ? (
        <Link href={`/documents?id=${document_id}`}>Document</Link>
      ) : (
        <span className="faint">no document</span>
      )}
    </li>
  );
}
