import { useMutation, useQueryClient } from "@tanstack/react-query";
import { type ReactNode, useContext, useEffect, useRef } from "react";
import { Say } from "./message.tsx";

/** Does something about a meeting's bot, and has everything about it asked for again. */
export function useWish<Input = void>(
  act: (input: Input) => Promise<unknown>,
  hooks: {
    onSuccess?: (answer: unknown, input: Input) => void;
    onError?: (error: Error) => void;
  } = {},
) {
  const queries = useQueryClient();
  return useMutation({
    ...hooks,
    mutationFn: act,
    onSuccess: async (answer, input) => {
      hooks.onSuccess?.(answer, input);
      await Promise.all([
        queries.invalidateQueries({ queryKey: ["bots"] }),
        queries.invalidateQueries({ queryKey: ["meetings"] }),
      ]);
    },
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
    onSuccess: (_, begun) => say({ tone: "good", text: begun.done }),
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
