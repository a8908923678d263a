import { useMutation, useQueryClient } from "@tanstack/react-query";
import { type ReactNode, useContext, useEffect, useRef } from "react";
import { Say } from "./message.tsx";

/** What to say afterwards. */
type Done<Input> = string | ((input: Input) => string);

/** Does something about a meeting's bot, says so, and has everything about it asked for again. */
export function useWish<Input = void>(
  act: (input: Input) => Promise<unknown>,
  { done, onError }: { done: Done<Input>; onError?: (error: Error) => void },
) {
  const queries = useQueryClient();
  const say = useContext(Say);
  return useMutation({
    mutationFn: act,
    onSuccess: async (_, input) => {
      say({ tone: "good", text: typeof done === "string" ? done : done(input) });
      await Promise.all([
        queries.invalidateQueries({ queryKey: ["bots"] }),
        queries.invalidateQueries({ queryKey: ["meetings"] }),
      ]);
    },
    ...(onError ? { onError } : {}),
  });
}

/** Gives the focus to the page when what had it went away, as something became another. */
export function useKeptFocus(something: string | undefined): void {
  const before = useRef(something);
  useEffect(() => {
    const isOther = before.current !== undefined && before.current !== something;
    before.current = something;
    if (isOther && document.activeElement === document.body)
      document.getElementById("main")?.focus();
  }, [something]);
}

type Act = { act: () => Promise<unknown>; done: string };
type WishButtonProps = Act & {
  className?: string;
  children: ReactNode;
};

/** A button that does one thing to a meeting's bot. While it is done the button keeps the focus, and does nothing more. */
export function WishButton({ act, done, className, children }: WishButtonProps) {
  const say = useContext(Say);
  // The button may mean something else by the time that it is done.
  const wish = useWish((begun: Act) => begun.act(), {
    done: (begun) => begun.done,
    onError: ({ message }) => say({ tone: "warn", text: message }),
  });
  return (
    <button
      type="button"
      className={className}
      aria-disabled={wish.isPending}
      onClick={() => !wish.isPending && wish.mutate({ act, done })}
    >
      {children}
    </button>
  );
}
