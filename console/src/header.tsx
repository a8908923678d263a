import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useContext, useEffect, useRef, useState } from "react";
import { flushSync } from "react-dom";
import { type Me, signOut } from "./api.ts";
import { Avatar } from "./avatar.tsx";
import { Button } from "./button.tsx";
import { forgetAll } from "./forget.ts";
import { Say } from "./message.tsx";
import { goTo, Link } from "./router.tsx";
import { applyTheme, storedTheme, storeTheme, type Theme, themes } from "./theme.ts";
import { forgetUnsent } from "./unsent.ts";

type HeaderProps = {
  user: Me["user"];
  pages: { path: string; name: string }[];
  current: string | undefined;
};

export function Header({ user, pages, current }: HeaderProps) {
  const nav = useRef<HTMLElement>(null);
  useEffect(() => {
    // On a phone the links are wider than the screen.
    const link = current && nav.current?.querySelector(`[href="${current}"]`);
    if (link) link.scrollIntoView({ inline: "center", block: "nearest" });
  }, [current]);
  return (
    <header>
      <Link href="/" className="brand">
        <img src="/icon.svg" alt="" width="28" height="28" /> Daybook
      </Link>
      <nav aria-label="Pages" ref={nav}>
        {pages.map(({ path, name }) => (
          <Link key={path} href={path} aria-current={path === current ? "page" : undefined}>
            {name}
          </Link>
        ))}
      </nav>
      <div className="person">
        <ThemeChoice />
        <span className="who" title={user.email}>
          <Avatar name={user.name ?? user.email} />
          <span className="name">{user.name ?? user.email}</span>
        </span>
        <SignOut />
      </div>
    </header>
  );
}

function SignOut() {
  const queries = useQueryClient();
  const say = useContext(Say);
  const leaving = useMutation({
    mutationFn: signOut,
    onSuccess: () => {
      say({ tone: "good", text: "You are signed out." });
      // The page goes before its person does: a form that is left by one's own wish keeps nothing.
      flushSync(() => goTo("/"));
      queries.setQueryData(["me"], null);
      forgetAll(queries);
      forgetUnsent();
    },
    onError: (error) => say({ tone: "warn", text: `You are still signed in. ${error.message}` }),
  });
  return (
    <Button isOff={leaving.isPending} onClick={() => leaving.mutate()}>
      Sign out
    </Button>
  );
}

const themeNames: Record<Theme, string> = { system: "Auto", light: "Light", dark: "Dark" };

function ThemeChoice() {
  const [theme, setTheme] = useState(storedTheme);
  const choose = (next: Theme) => {
    applyTheme(next);
    storeTheme(next);
    setTheme(next);
  };
  return (
    <select
      aria-label="Appearance"
      title="Appearance"
      value={theme}
      onChange={(event) => choose(themes[event.target.selectedIndex] ?? "system")}
    >
      {themes.map((value) => (
        <option key={value} value={value}>
          {themeNames[value]}
        </option>
      ))}
    </select>
  );
}
