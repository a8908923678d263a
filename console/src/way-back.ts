import type { Message } from "./message.tsx";

/** Takes what Google's way back left in the address, in words that help, and leaves the address clean. */
export function takeWayBack(): Message | null {
  const url = new URL(location.href);
  const code = url.searchParams.get("sign_in_error");
  const isMailbox = url.searchParams.has("mailbox_connected");
  if (code === null && !isMailbox) return null;
  for (const name of ["sign_in_error", "mailbox_connected"]) url.searchParams.delete(name);
  history.replaceState(null, "", url);
  if (code === null) {
    return { tone: "good", text: "The assistant’s mailbox is connected. It is read from now on." };
  }
  return { tone: "warn", text: texts.get(code) ?? "Signing in did not work. Try again." };
}

const texts = new Map(
  Object.entries({
    access_denied: "You did not allow access at Google, so nothing was connected.",
    not_begun_here:
      "This sign-in was begun elsewhere, took too long, or was used already. Begin once more.",
    account_taken:
      "Somebody else uses this Google account or its address here. Choose another; or, if that is you by the older sign-in, sign in there and connect this account.",
    not_the_mailbox:
      "This is not the assistant’s mailbox, so nothing was connected. Open the link once more, and choose the assistant’s own account.",
    email_unverified:
      "Google has not verified this account's address. Verify it at Google, then try again.",
    code_refused: "Google did not accept this sign-in any more. Begin once more.",
    google_unavailable: "Google cannot be reached at the moment. Try again in a minute.",
    refused_by_google:
      "Google refused this sign-in. Your administrator may not allow Daybook; ask them, or use another account.",
    incomplete: "Google's answer was not complete. Begin once more.",
    too_many_requests: "That was tried too often. Wait a minute, then begin once more.",
    unavailable: "Daybook is not quite there at the moment. Try again in a minute.",
    unauthenticated: "You were signed out meanwhile. Sign in, then connect the account again.",
  }),
);
