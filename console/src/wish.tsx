import { useMutation, useQueryClient } from "@tanstack/react-query";
import { type ReactNode, useContext } from "react";
import { Button } from "./button.tsx";
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

type Act = { act: () => Promise<unknown>; done: string };
type WishButtonProps = Act & {
  className?: string;
  children: ReactNode;
};

/** A button that does one thing to a meeting's bot, and nothing more while it is done. */
export function WishButton({ act, done, className, children }: WishButtonProps) {
  const say = useContext(Say);
  // The button may mean something else by the time that it is done.
  const wish = useWish((begun: Act) => begun.act(), {
    onSuccess: (_, begun) => say({ tone: "good", text: begun.done }),
    onError: ({ message }) => say({ tone: "warn", text: message }),
  });
  return (
    <Button className={className} isOff={wish.isPending} onClick={() => wish.mutate({ act, done })}>
      {children}
    </Button>
  );
}
