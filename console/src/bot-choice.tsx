import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useContext } from "react";
import { type Meeting, wantBot } from "./api.ts";
import { Say } from "./message.tsx";

const choices = [
  { value: "null", name: "Bot by the rules" },
  { value: "true", name: "With a bot" },
  { value: "false", name: "Without a bot" },
];

/** Whether a meeting is to have a bot, or the rules decide. */
export function BotChoice({ meeting }: { meeting: Meeting }) {
  const queries = useQueryClient();
  const say = useContext(Say);
  const choosing = useMutation({
    mutationFn: (wish: boolean | null) => wantBot(meeting.id, wish),
    onSuccess: () => queries.invalidateQueries({ queryKey: ["meetings"] }),
    onError: (error) => say({ tone: "warn", text: `Nothing was changed. ${error.message}` }),
  });
  return (
    <select
      aria-label={`Bot for ${meeting.title}`}
      value={String(choosing.isPending ? choosing.variables : meeting.wants_bot)}
      aria-disabled={choosing.isPending}
      onChange={({ target }) =>
        !choosing.isPending &&
        choosing.mutate(target.value === "null" ? null : target.value === "true")
      }
    >
      {choices.map(({ value, name }) => (
        <option key={value} value={value}>
          {name}
        </option>
      ))}
    </select>
  );
}
