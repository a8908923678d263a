import { createContext, type ReactNode } from "react";

/** Something to be read once: how a wish ended, or what stands in its way. */
export type Message = { tone: "good" | "warn"; text: string };

/** Shows a message above whatever page is open; null takes away the last one. */
export const Say = createContext<(message: Message | null) => void>(() => {});

/** A box that catches the eye. A warning interrupts a screen reader; good news waits its turn. */
export function Notice({ tone, children }: { tone: Message["tone"]; children: ReactNode }) {
  return (
    <div className={`notice ${tone}`} role={tone === "warn" ? "alert" : "status"}>
      {children}
    </div>
  );
}

/** The place where messages appear. It is there before they are, or screen readers would miss them. */
export function Messages({
  message,
  onDismiss,
}: {
  message: Message | null;
  onDismiss: () => void;
}) {
  return (
    <div aria-live="polite">
      {message && (
        <Notice tone={message.tone}>
          <span>{message.text}</span>
          <button type="button" className="quiet" onClick={onDismiss}>
            Dismiss
          </button>
        </Notice>
      )}
    </div>
  );
}
