/** Something that happens in a meeting, so many seconds after the bot has come in. */
export type Scene =
  | { after: number; does: "join" | "leave"; who: string }
  | { after: number; does: "say"; who: string; text: string; seconds: number }
  | { after: number; does: "chat"; who: string; text: string };

/** What becomes of a bot. All but `plays` and `silent` end before anybody says a word. */
export const fates = [
  "plays",
  "silent",
  "waits",
  "denied",
  "ignored",
  "not_found",
  "no_recording",
  "crashes",
  "crashes_joining",
] as const;
export type Fate = (typeof fates)[number];

export const people = [
  { name: "Robin Miller", uuid: "device-robin", isHost: true },
  { name: "Kim Sørensen", uuid: "device-kim", isHost: false },
  { name: "Ada Okafor", uuid: "device-ada", isHost: false },
];

/** A short meeting of three, which ends when everybody has left. */
export const usualPlay: Scene[] = [
  { after: 0.5, does: "join", who: "Robin Miller" },
  { after: 1, does: "join", who: "Kim Sørensen" },
  {
    after: 2,
    does: "say",
    who: "Robin Miller",
    text: "Good morning, shall we look at the launch?",
    seconds: 3,
  },
  {
    after: 6,
    does: "say",
    who: "Kim Sørensen",
    text: "Yes. The landing page is ready, the film is not.",
    seconds: 3,
  },
  { after: 8, does: "join", who: "Ada Okafor" },
  {
    after: 10,
    does: "say",
    who: "Ada Okafor",
    text: "Sorry I am late. The film comes on Thursday, I was told.",
    seconds: 4,
  },
  {
    after: 12,
    does: "chat",
    who: "Ada Okafor",
    text: "The storyboard: https://drive.example.com/storyboard",
  },
  {
    after: 15,
    does: "say",
    who: "Robin Miller",
    text: "Then we move the launch to Friday. Kim, will you tell the client?",
    seconds: 4,
  },
  {
    after: 20,
    does: "say",
    who: "Kim Sørensen",
    text: "I will write to them this afternoon.",
    seconds: 2,
  },
  { after: 23, does: "leave", who: "Ada Okafor" },
  { after: 24, does: "leave", who: "Robin Miller" },
  { after: 25, does: "leave", who: "Kim Sørensen" },
];
