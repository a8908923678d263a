import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { type Bot, type ChatMessage, fetchChat, sendChat } from "./bots.ts";
import { Button } from "./button.tsx";
import { timeOf } from "./days.ts";
import { Choice, errorAt, Field, Outcome, textOf } from "./field.tsx";
import { usePeople } from "./people.tsx";
import { Tail } from "./tail.tsx";
import { Waiting } from "./waiting.tsx";
import { useWish } from "./wish.tsx";

/** What is written in a meeting's chat; while the bot is there, one can write through it. */
export function Chat({ bot }: { bot: Bot }) {
  const chat = useQuery({ queryKey: ["bots", bot.id, "chat"], queryFn: () => fetchChat(bot.id) });
  if (!chat.data) return <Waiting query={chat} />;
  const isThere = !bot.is_over && bot.state?.startsWith("joined_") === true;
  if (!isThere && chat.data.length === 0) return null;
  return (
    <section className="stacked" aria-labelledby="chat">
      <h2 id="chat">Chat</h2>
      {chat.data.length === 0 && <p className="empty">Nobody has written anything yet.</p>}
      {chat.data.length > 0 && (
        <Tail
          label="Messages"
          items={chat.data}
          most={100}
          isFollowed
          show={(shown) =>
            shown.map((message) => <Message key={message.id} message={message} bot={bot} />)
          }
        />
      )}
      {isThere && <Writing bot={bot} />}
    </section>
  );
}

const toWords: Record<string, string> = {
  everyone: "",
  only_bot: "to the bot only",
  specific_user: "to one person",
  everyone_but_host: "to all but the host",
};

function Message({ message, bot }: { message: ChatMessage; bot: Bot }) {
  const { sender_name, text, at, to } = message;
  return (
    <li>
      <p>
        <strong>{sender_name ?? "Somebody"}</strong>{" "}
        {sender_name === bot.name && <span className="badge">bot</span>}{" "}
        <time className="faint" dateTime={at}>
          {timeOf(at)}
        </time>{" "}
        <span className="faint">{toWords[to] ?? to}</span>
      </p>
      <p className="text">{text}</p>
    </li>
  );
}

function Writing({ bot }: { bot: Bot }) {
  const [to, setTo] = useState("everyone");
  const { there, gone } = usePeople(bot);
  const sending = useWish((message: string) => sendChat(bot.id, { message, to }));
  // Who was chosen and has left stays chosen: what was for one is not for everyone.
  const named = [
    ...there.filter(({ isHost }) => !isHost),
    ...gone.filter(({ uuid }) => uuid === to),
  ];
  const send = (form: HTMLFormElement) => {
    const field = form.elements.namedItem("message");
    const message = textOf(new FormData(form), "message");
    if (message === "" || !(field instanceof HTMLInputElement)) return;
    sending.mutate(message, {
      onSuccess: () => {
        // The next one may have been begun meanwhile.
        if (field.value.trim() === message) field.value = "";
      },
    });
  };
  return (
    <form
      className="fields"
      onChange={() => !sending.isPending && sending.reset()}
      onSubmit={(event) => {
        event.preventDefault();
        send(event.currentTarget);
      }}
    >
      <div className="writing">
        <Choice
          name="to"
          label="To"
          value={to}
          onChange={setTo}
          options={[
            ["everyone", "Everyone"],
            ["host", "The host"],
            ["everyone_but_host", "All but the host"],
            ...named.map(({ uuid, name }) => [uuid, name] as const),
          ]}
          error={errorAt(sending.error, "to")}
        />
        <Field
          name="message"
          label="Message"
          most={2_000}
          error={errorAt(sending.error, "message")}
        />
        <Button type="submit" isOff={sending.isPending}>
          Send
        </Button>
      </div>
      <Outcome wish={sending} fields={["to", "message"]} done="Your message is on its way." />
    </form>
  );
}
