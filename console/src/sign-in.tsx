import type { ReactNode } from "react";
import { googleUrl } from "./api.ts";

export function SignIn({ messages }: { messages: ReactNode }) {
  return (
    <main className="door" id="main" tabIndex={-1}>
      <img src="/icon.svg" alt="" width="56" height="56" />
      <h1>Daybook</h1>
      <p>
        Daybook keeps your calendar, mail and files from Google current in a database of your own.
        An assistant takes part in the work you invite it to.
      </p>
      {messages}
      <a className="button primary" href={googleUrl()}>
        Sign in with Google
      </a>
      <p className="faint">
        Daybook may read them and change nothing. At Google you choose what to allow, and can take
        it back at any time.
      </p>
    </main>
  );
}
