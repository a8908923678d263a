const paths = {
  calendar: "M4 6.5h16v13H4zM4 10.5h16M8.5 4v4M15.5 4v4",
  gmail: "M4 6h16v12.5H4zM4.5 6.5 12 12.5l7.5-6",
  drive: "M6.5 3.5H14l4 4v13H6.5zM13.5 4v4H18M9.5 12.5h5M9.5 16h5",
  good: "M5 12.5l4.5 4.5L19 7.5",
  warn: "M12 4.5 21 19.5H3zM12 10v4.5M12 17v.2",
  ended: "M6.5 12h11",
};

/** A small line drawing beside words that say the same. */
export function Icon({ name }: { name: keyof typeof paths }) {
  return (
    <svg className="icon" viewBox="0 0 24 24" aria-hidden="true">
      <path d={paths[name]} />
    </svg>
  );
}
