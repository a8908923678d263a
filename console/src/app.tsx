import { onlineManager, useQuery, useQueryClient } from "@tanstack/react-query";
import {
  type ComponentType,
  type ReactNode,
  useEffect,
  useRef,
  useState,
  useSyncExternalStore,
} from "react";
import { fetchMe, type Me } from "./api.ts";
import { Assistant } from "./assistant.tsx";
import { Button } from "./button.tsx";
import { Connections } from "./connections.tsx";
import { Documents } from "./documents.tsx";
import { forgetAll } from "./forget.ts";
import { Header } from "./header.tsx";
import { useKeptFocus } from "./kept-focus.ts";
import { useLive } from "./live.ts";
import { Meetings } from "./meetings.tsx";
import { type Message, Messages, Notice, Say } from "./message.tsx";
import { Projects } from "./projects.tsx";
import { Link, usePath } from "./router.tsx";
import { SignIn } from "./sign-in.tsx";
import { Today } from "./today.tsx";
import { forgetUnsent } from "./unsent.ts";
import { takeWayBack } from "./way-back.ts";

type Page = { path: string; name: string; Content: ComponentType<{ me: Me }> };

// In the order of the navigation; the first is also the start page.
const start: Page = { path: "/today", name: "Today", Content: Today };
const pages: Page[] = [
  start,
  { path: "/meetings", name: "Meetings", Content: Meetings },
  { path: "/documents", name: "Documents", Content: Documents },
  { path: "/projects", name: "Projects", Content: Projects },
  { path: "/assistant", name: "Assistant", Content: Assistant },
  { path: "/connections", name: "Connections", Content: Connections },
];

const sessionEnded: Message = { tone: "warn", text: "Your session has ended. Sign in to go on." };

// Read once, before React may render twice: reading it cleans the address.
const wayBack = takeWayBack();

export function App() {
  useKeptFocus();
  const queries = useQueryClient();
  const me = useQuery({
    queryKey: ["me"],
    queryFn: async () => {
      const now = await fetchMe();
      const before = queries.getQueryData<Me | null>(["me"]);
      // Somebody else has signed in, in another tab: what the one before looked at is not theirs.
      if (before && before.user.id !== now?.user.id) forgetAll(queries);
      if (now) forgetUnsent(now.user.id);
      return now;
    },
  });
  const isOnline = useSyncExternalStore(onlineManager.subscribe, () => onlineManager.isOnline());
  const [message, say] = useState<Message | null>(wayBack);
  const messages = <Messages message={message} onDismiss={() => say(null)} />;
  const hindrance = hindranceOf({ isOnline, isOutdated: me.isError && me.data !== undefined });
  const retry = () => me.refetch();

  // Whoever leaves by their own wish has been told something already.
  const wasSignedIn = useRef(false);
  useEffect(() => {
    if (me.data === null && wasSignedIn.current) say((told) => told ?? sessionEnded);
    wasSignedIn.current = Boolean(me.data);
  }, [me.data]);

  if (me.isPending) return <Loading />;
  if (me.data === undefined) {
    return <Unreachable text={me.error?.message} isTrying={me.isFetching} onRetry={retry} />;
  }
  if (me.data === null) return <SignIn messages={messages} />;
  return (
    <Say value={say}>
      <SignedIn key={me.data.user.id} me={me.data}>
        {hindrance && (
          <Notice tone="warn">
            <span>{hindrance}</span>
            <Button className="quiet" isOff={me.isFetching} onClick={retry}>
              Try again
            </Button>
          </Notice>
        )}
        {messages}
      </SignedIn>
    </Say>
  );
}

function SignedIn({ me, children }: { me: Me; children: ReactNode }) {
  useLive(me.last_event_id);
  const path = usePath();
  const page = path === "/" ? start : findPage(path);
  const name = page?.name ?? "No such page";
  useEffect(() => {
    document.title = `${name} · Daybook`;
    return () => {
      document.title = "Daybook";
    };
  }, [name]);
  return (
    <>
      <a className="skip" href="#main">
        Skip to the content
      </a>
      <Header user={me.user} pages={pages} current={page?.path} />
      <main id="main" tabIndex={-1}>
        {children}
        {page ? <page.Content me={me} /> : <NoSuchPage />}
      </main>
    </>
  );
}

function findPage(path: string): Page | undefined {
  return pages.find((page) => page.path === path.replace(/\/$/, ""));
}

function hindranceOf({ isOnline, isOutdated }: { isOnline: boolean; isOutdated: boolean }) {
  if (!isOnline) return "You are offline. What you see is as it was when you were last online.";
  if (isOutdated) return "Daybook does not answer at the moment. What you see may be out of date.";
  return null;
}

function NoSuchPage() {
  return (
    <>
      <div className="title">
        <h1>No such page</h1>
      </div>
      <p>
        There is nothing at this address. Go to <Link href={start.path}>{start.name}</Link>.
      </p>
    </>
  );
}

type UnreachableProps = { text: string | undefined; isTrying: boolean; onRetry: () => void };

function Unreachable({ text, isTrying, onRetry }: UnreachableProps) {
  return (
    <main className="door" id="main" tabIndex={-1}>
      <h1>Something is in the way</h1>
      <p role="alert">{text}</p>
      <p className="faint">If this lasts, tell whoever runs this Daybook.</p>
      <Button className="primary" isOff={isTrying} onClick={onRetry}>
        {isTrying ? "Trying …" : "Try again"}
      </Button>
    </main>
  );
}

// As tall and as wide as what follows, so that nothing jumps; unseen at first, so that a quick answer does not flicker.
function Loading() {
  return (
    <div className="loading" aria-busy="true">
      <p className="visually-hidden" role="status">
        Loading
      </p>
      <header />
      <main>
        <div className="skeleton heading" />
        <div className="skeleton card" />
        <div className="skeleton card" />
      </main>
    </div>
  );
}
