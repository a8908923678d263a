import { type Connection, exportUrl, googleUrl, type Me } from "./api.ts";
import { Avatar } from "./avatar.tsx";
import { DeleteEverything, Disconnect } from "./dialogs.tsx";
import { Feeds } from "./feeds.tsx";
import { Icon } from "./icons.tsx";
import { Notice } from "./message.tsx";
import { Moment } from "./moment.tsx";

export function Connections({ me }: { me: Me }) {
  const isEmpty = me.connections.length === 0;
  return (
    <>
      <div className="title">
        <h1>Connections</h1>
        <a className={isEmpty ? "button primary" : "button"} href={googleUrl({})}>
          {isEmpty ? "Connect a Google account" : "Connect another account"}
        </a>
      </div>
      {me.notices.map(({ code, text }) => (
        <Notice tone="warn" key={code}>
          <span>
            <strong>For the operator.</strong> {text}
          </span>
        </Notice>
      ))}
      {isEmpty && (
        <p className="empty">
          No Google account is connected. Connect one, and Daybook begins to follow it.
        </p>
      )}
      <ul className="cards">
        {me.connections.map((connection) => (
          <li key={connection.id}>
            <Card connection={connection} />
          </li>
        ))}
      </ul>
      <YourData email={me.user.email} />
    </>
  );
}

type Health = "good" | "warn" | "ended";

function Card({ connection }: { connection: Connection }) {
  const { id, email, name, capabilities } = connection;
  const health = healthOf(connection);
  const title = email ?? "Google account";
  return (
    <article aria-label={title}>
      <div className="account">
        <Avatar name={name ?? title} />
        <div>
          <h2>
            <Address text={title} />
          </h2>
          <p className="faint">
            {name} {connection.is_sign_in && <span className="badge">sign-in</span>}
          </p>
        </div>
      </div>
      <p className={`state ${health}`}>
        <Icon name={health} />
        <span>{connection.state_text}</span>
      </p>
      {health !== "ended" && (
        <ul className="capabilities">
          {capabilities.map((capability) => (
            <Capability
              key={capability.name}
              capability={capability}
              isWaiting={connection.state !== "active"}
            />
          ))}
        </ul>
      )}
      {health === "warn" && connection.state === "active" && (
        <p className="faint">To allow what is missing, reconnect and tick it on Google’s page.</p>
      )}
      {health !== "ended" && <Feeds connectionId={id} />}
      <footer>
        <p className="faint">
          Connected <Moment at={connection.connected_at} />
          {connection.last_refreshed_at && (
            <>
              , access renewed <Moment at={connection.last_refreshed_at} />
            </>
          )}
        </p>
        <div className="actions">
          {health !== "ended" && <Disconnect connection={connection} />}
          {health !== "good" && (
            <a
              className="button primary"
              href={googleUrl({ connectionId: id })}
              aria-label={`${health === "ended" ? "Connect" : "Reconnect"} ${title}`}
            >
              {health === "ended" ? "Connect" : "Reconnect"}
            </a>
          )}
        </div>
      </footer>
    </article>
  );
}

// A long address breaks after its @, before it breaks anywhere else.
function Address({ text }: { text: string }) {
  const at = text.indexOf("@") + 1;
  return (
    <>
      {text.slice(0, at)}
      <wbr />
      {text.slice(at)}
    </>
  );
}

function healthOf({ state, state_reason, capabilities }: Connection): Health {
  if (state_reason === "disconnected") return "ended";
  return state === "active" && capabilities.every(({ granted }) => granted) ? "good" : "warn";
}

const names = { calendar: "Calendar", gmail: "Mail", drive: "Drive" };

type CapabilityProps = { capability: Connection["capabilities"][number]; isWaiting: boolean };

function Capability({ capability, isWaiting }: CapabilityProps) {
  const { name, granted, missing_scopes } = capability;
  return (
    <li className={granted && !isWaiting ? "granted" : "missing"}>
      <Icon name={name} />
      <div>
        {names[name]}
        {granted && <span>{isWaiting ? "paused" : "reading allowed"}</span>}
        {!granted && (
          <span>
            not allowed: <code>{missing_scopes.map(shortScope).join(", ")}</code>
          </span>
        )}
      </div>
    </li>
  );
}

function shortScope(scope: string): string {
  return scope.replace("https://www.googleapis.com/auth/", "");
}

function YourData({ email }: { email: string }) {
  return (
    <section aria-labelledby="your-data">
      <h2 id="your-data">Your data</h2>
      <div className="choice">
        <p>
          Take along everything that Daybook keeps about you, one JSON object a line. Tokens are not
          in it.
        </p>
        <a className="button" href={exportUrl} download>
          Export my data
        </a>
      </div>
      <div className="choice">
        <p>Leave: every row of yours is deleted here, and every access at Google is revoked.</p>
        <DeleteEverything email={email} />
      </div>
    </section>
  );
}
