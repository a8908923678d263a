import { type ReactNode, useLayoutEffect, useRef, useState } from "react";

type Props<Item> = {
  label: string;
  items: Item[];
  /** So many are shown at first, and with each wish for more. */
  most: number;
  /** The latest are shown, and kept in sight for whoever reads at the end; otherwise the first. */
  isFollowed: boolean;
  className?: string;
  show: (shown: Item[]) => ReactNode;
};

/** A long list that scrolls in a box of its own: a part is shown, and more on wish. */
export function Tail<Item>({
  label,
  items,
  most,
  isFollowed,
  className = "plain",
  show,
}: Props<Item>) {
  const [limit, setLimit] = useState(most);
  const list = useRef<HTMLUListElement>(null);
  const isAtEnd = useRef(true);
  const shown = isFollowed ? items.slice(-limit) : items.slice(0, limit);
  const hidden = items.length - shown.length;
  const showMore = () => {
    setLimit(limit + most);
    // With nothing left to show the button goes.
    if (hidden <= most) list.current?.focus({ preventScroll: true });
  };
  const more = hidden > 0 && (
    <button type="button" className="quiet more" onClick={showMore}>
      {isFollowed ? "Show earlier" : "Show more"} ({hidden})
    </button>
  );
  useLayoutEffect(() => {
    const { current } = list;
    if (current && isFollowed && isAtEnd.current && items.length > 0)
      current.scrollTop = current.scrollHeight;
  }, [items, isFollowed]);
  const look = () => {
    const { current } = list;
    if (current)
      isAtEnd.current = current.scrollHeight - current.scrollTop - current.clientHeight < 40;
  };
  return (
    <>
      {isFollowed && more}
      <ul
        ref={list}
        className={`${className} tail`}
        aria-label={label}
        // biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls must be reached by keyboard.
        tabIndex={0}
        onScroll={look}
      >
        {show(shown)}
      </ul>
      {!isFollowed && more}
    </>
  );
}
