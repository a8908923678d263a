import formbody from "@fastify/formbody";
import type { FastifyInstance, FastifyReply } from "fastify";
import { z } from "zod";
import type { Clock } from "../../src/lib/clock.ts";
import { type Html, html, isFromHere, page, pageHeaders } from "../google/pages.ts";
import type { AttendeeSettings } from "./attendee.ts";
import type { SandboxBot } from "./bot.ts";
import type { Bots } from "./bots.ts";
import { FateText } from "./control.ts";
import { type EndingEvent, type Fate, fates, people, subTypes } from "./play.ts";
import { joinedStates } from "./states.ts";

type Shown = { engine: Bots; settings: AttendeeSettings; clock: Clock; site: () => string };

const shownBots = 20;
const shownLines = 12;
const refreshSeconds = 3;

const Speech = z.object({
  id: z.string(),
  who: z.string(),
  text: z.string().trim().min(1).max(2_000),
  how: z.enum(["say", "write"]),
});

/** The page on which a person is the others in a meeting. Plain forms, no scripts. */
export async function addAttendeePage(server: FastifyInstance, shown: Shown): Promise<void> {
  const { engine, settings, clock, site } = shown;
  await server.register(formbody);
  const act = (path: string, run: (body: unknown, now: Date) => void) =>
    server.post(`/page/${path}`, (request, reply) => {
      if (!isFromHere(request)) {
        return reply.code(403).send("Only pages of the sandbox may do this");
      }
      run(request.body, clock.now());
      return reply.redirect(`${site()}/`, 303);
    });
  const botOf = (body: unknown): SandboxBot | undefined =>
    engine.bots.get(z.object({ id: z.string() }).parse(body).id);

  server.get("/", (request, reply: FastifyReply) => {
    const { live } = z.object({ live: z.string().optional() }).parse(request.query);
    if (live) reply.header("refresh", String(refreshSeconds));
    return reply.headers(pageHeaders).send(render(shown, live !== undefined));
  });
  for (const does of ["admit", "refuse", "remove", "end"] as const) {
    act(does, (body, now) => {
      const bot = botOf(body);
      if (bot) engine[does](bot, now);
    });
  }
  act("speak", (body, now) => {
    const { who, text, how } = Speech.parse(body);
    const bot = botOf(body);
    const person = people.find(({ uuid }) => uuid === who);
    if (!bot || !person) return;
    if (how === "write") engine.write(bot, now, { by: person, text });
    else engine.say(bot, now, { person, text, seconds: 2 });
  });
  act("fate", (body) => {
    const { fate } = z.object({ fate: z.string() }).parse(body);
    const [type, subType] = fate.split("/");
    const chosen = FateText.parse(subType ? { type, sub_type: subType } : type);
    settings.fates = chosen === "plays" ? [] : [["", chosen]];
  });
  act("webhooks", (body) => {
    const { wish } = z.object({ wish: z.enum(["lose", "once", "twice"]) }).parse(body);
    if (wish === "lose") settings.loseNext += 5;
    else settings.times = wish === "twice" ? 2 : 1;
  });
}

function render(shown: Shown, isLive: boolean): string {
  const { engine, settings, clock, site } = shown;
  const bots = [...engine.bots.values()].slice(-shownBots).reverse();
  return page(
    "Meetings",
    html`<h1>Meetings</h1>
<p class="soft">The sandbox’s Attendee, at ${clock.now().toISOString().slice(0, 19).replace("T", " ")} UTC. Here you are
the people whom a bot meets. <a href="${site()}/${isLive ? "" : "?live=1"}">${isLive ? "Stop following" : "Follow it live"}</a></p>
<h2>The next bots</h2>
<form method="post" action="${site()}/page/fate" class="choice">
<label>What becomes of bots that join from now on<br><select name="fate">${fateOptions(settings)}</select></label>
<button>Choose</button></form>
<form method="post" action="${site()}/page/webhooks" class="choice">
<span>Each webhook comes ${settings.times === 1 ? "once" : `${settings.times} times`}; the next ${settings.loseNext} are lost.</span>
<button name="wish" value="lose">Lose five</button>
<button name="wish" value="${settings.times === 1 ? "twice" : "once"}">Send each ${settings.times === 1 ? "twice" : "once"}</button></form>
<h2>Bots</h2>
${bots.length === 0 ? html`<p class="soft">None yet. Invite the assistant to a meeting.</p>` : bots.map((bot) => section(bot, site()))}`,
    "wide",
  );
}

function section(bot: SandboxBot, base: string): Html {
  const { state } = bot;
  const id = html`<input type="hidden" name="id" value="${bot.id}">`;
  const button = (does: string, label: string, isShown: boolean) =>
    isShown
      ? html`<form method="post" action="${base}/page/${does}">${id}<button>${label}</button></form> `
      : null;
  const isWaiting = state === "waiting_room";
  const isIn = joinedStates.includes(state);
  const buttons = [
    button("admit", "Let it in", isWaiting),
    button("refuse", "Refuse it", isWaiting),
    button("remove", "Remove it", isIn),
    button("end", "End the meeting", isIn),
  ];
  const last = bot.events.at(-1);
  const why = last?.sub_type ? `, ${last.sub_type.replaceAll("_", " ")}` : "";
  return html`<section><h3>${bot.name} <span class="soft small">${state.replaceAll("_", " ")}${why}</span></h3>
<p class="small"><code>${bot.meetingUrl}</code><br><span class="soft">${bot.joinAt ? `joins at ${bot.joinAt.toISOString().slice(0, 16).replace("T", " ")} UTC` : "joins at once"},
recording ${bot.recordingState.replaceAll("_", " ")}, transcript ${bot.transcriptionState.replaceAll("_", " ")}</span></p>
<div class="choice">${buttons.filter((one) => one !== null)}</div>
${isIn ? speakForm(id, base) : null}${linesOf(bot)}</section>`;
}

function speakForm(id: Html, base: string): Html {
  const options = people.map(({ uuid, name }) => html`<option value="${uuid}">${name}</option>`);
  return html`<form method="post" action="${base}/page/speak" class="choice">${id}
<label>Who<br><select name="who">${options}</select></label>
<label>What<br><input name="text" required maxlength="2000" value="Shall we begin?"></label>
<button name="how" value="say">Say it</button><button name="how" value="write">Write it</button></form>`;
}

function linesOf({ utterances, messages }: SandboxBot): Html | null {
  const spoken = utterances.map(({ timestamp_ms, speaker_name, transcription }) => {
    return { at: timestamp_ms, who: speaker_name, text: transcription.transcript };
  });
  const written = messages.map(({ timestamp_ms, sender_name, text }) => {
    return { at: timestamp_ms, who: `${sender_name} (chat)`, text };
  });
  const lines = [...spoken, ...written].toSorted((one, other) => one.at - other.at);
  if (lines.length === 0) return null;
  const rows = lines
    .slice(-shownLines)
    .map(
      ({ who, text }) => html`<li><span class="row"><b>${who}</b><span>${text}</span></span></li>`,
    );
  return html`<ul>${rows}</ul>`;
}

function fateOptions({ fates: chosen }: AttendeeSettings): Html[] {
  const current = textOf(chosen.find(([part]) => part === "")?.[1] ?? "plays");
  const bySubType = (Object.keys(subTypes) as EndingEvent[]).flatMap((type) =>
    subTypes[type].map((sub_type): Fate => ({ type, sub_type })),
  );
  return [...fates, ...bySubType].map((fate) => {
    const value = textOf(fate);
    const label = value.replaceAll("_", " ").replace("/", ": ");
    return value === current
      ? html`<option value="${value}" selected>${label}</option>`
      : html`<option value="${value}">${label}</option>`;
  });
}

function textOf(fate: Fate): string {
  return typeof fate === "string" ? fate : `${fate.type}/${fate.sub_type}`;
}
