import type { SandboxGmail } from "./gmail.ts";

/** Gives the made-up people some mail that does not concern the assistant: nobody should ever ask for its text. */
export async function seedMails(gmail: SandboxGmail): Promise<void> {
  const [ana, jonas, priya] = ["ana@example.com", "jonas.weber@example.com", "priya@example.com"];
  const mails = [
    { from: jonas, to: ana, subject: "Lunch?", text: "The canteen has dumplings." },
    {
      from: ana,
      to: [jonas, priya],
      subject: "Launch plan",
      text: "Attached is what we agreed on.",
    },
    { from: priya, to: ana, cc: jonas, subject: "Re: Launch plan", text: "Looks good to me." },
    { from: "news@example.net", to: ana, subject: "This week", text: "Five things to read." },
    { from: "client@example.net", to: priya, subject: "A question", text: "Where is the invoice?" },
  ];
  for (const mail of mails) await gmail.send(mail);
}
