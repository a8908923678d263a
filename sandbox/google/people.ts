import type { State } from "./state.ts";

/** Somebody with an account at the sandbox. */
export type Person = {
  /** What identifies the account for ever; the address can change. */
  sub: string;
  email: string;
  emailVerified: boolean;
  name: string;
  givenName: string;
  familyName: string | null;
  /** The Workspace domain that the account belongs to; null for a private account. */
  hd: string | null;
  isDisabled: boolean;
};

const usual = { emailVerified: true, hd: null, isDisabled: false };

/**
 * A small company on Workspace, and two people with private accounts, one of whom never verified the address. The last is
 * nobody's own: the mailbox that all plus-addresses of the assistant are delivered to.
 */
export const madeUpPeople: readonly Person[] = [
  {
    ...usual,
    sub: "108204268033311374519",
    email: "ana@example.com",
    name: "Ana Moreno",
    givenName: "Ana",
    familyName: "Moreno",
    hd: "example.com",
  },
  {
    ...usual,
    sub: "115390627481950236614",
    email: "jonas.weber@example.com",
    name: "Jonas Weber",
    givenName: "Jonas",
    familyName: "Weber",
    hd: "example.com",
  },
  {
    ...usual,
    sub: "102771930485562019387",
    email: "priya@example.com",
    name: "Priya Raman",
    givenName: "Priya",
    familyName: "Raman",
    hd: "example.com",
  },
  {
    ...usual,
    sub: "117462903815524076012",
    email: "zoe.lindqvist@example.org",
    name: "Zoë Lindqvist",
    givenName: "Zoë",
    familyName: "Lindqvist",
  },
  {
    ...usual,
    sub: "100836251947730582146",
    email: "sam@example.org",
    name: "Sam",
    givenName: "Sam",
    familyName: null,
    emailVerified: false,
  },
  {
    ...usual,
    sub: "113052847719603542288",
    email: "ai@example.com",
    name: "Assistant",
    givenName: "Assistant",
    familyName: null,
    hd: "example.com",
  },
];

/** Finds a person by account id or address, in any case. */
export function findPerson(state: State, subOrEmail: string): Person | null {
  const wanted = subOrEmail.toLowerCase();
  return (
    state.people.find(({ sub, email }) => sub === wanted || email.toLowerCase() === wanted) ?? null
  );
}

/** What a token with these scopes tells about a person, as OpenID Connect names it. */
export function claimsOf(state: State, person: Person, scopes: readonly string[]) {
  const { sub, email, emailVerified, name, givenName, familyName, hd } = person;
  const profile = {
    name,
    given_name: givenName,
    ...(familyName === null ? {} : { family_name: familyName }),
    picture: `${state.baseUrl()}/avatars/${sub}`,
  };
  return {
    sub,
    ...(hd === null ? {} : { hd }),
    ...(scopes.some((scope) => scope.endsWith("/userinfo.email"))
      ? { email, email_verified: emailVerified }
      : {}),
    ...(scopes.some((scope) => scope.endsWith("/userinfo.profile")) ? profile : {}),
  };
}
