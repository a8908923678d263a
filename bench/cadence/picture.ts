/** Ways to decide, each as a line through what it takes and gives, or as a point. */
export type Line = {
  name: string;
  colour: { light: string; dark: string };
  /** Calls a day, and minutes of mean waiting. */
  points: (readonly [calls: number, minutes: number])[];
};

const [width, height] = [760, 480];
const edge = { left: 64, right: 170, top: 56, bottom: 56 };

/** Calls a day against mean waiting, both by logarithm: what lies lower and further left is better. */
export function draw(title: string, lines: Line[]): string {
  const all = lines.flatMap(({ points }) => points);
  const x = scale(
    all.map(([calls]) => calls),
    edge.left,
    width - edge.right,
  );
  const y = scale(
    all.map(([, minutes]) => minutes),
    height - edge.bottom,
    edge.top,
  );
  const steps = [0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000];
  const columns = steps.filter((calls) => x(calls) >= edge.left && x(calls) <= width - edge.right);
  const rows = steps.filter(
    (minutes) => y(minutes) <= height - edge.bottom && y(minutes) >= edge.top,
  );
  const grid = [
    ...columns.map((calls) => {
      const at = x(calls).toFixed(1);
      return `<path class="grid" d="M${at} ${edge.top}V${height - edge.bottom}"/><text x="${at}" y="${height - edge.bottom + 18}" text-anchor="middle">${calls}</text>`;
    }),
    ...rows.map((minutes) => {
      const at = y(minutes).toFixed(1);
      return `<path class="grid" d="M${edge.left} ${at}H${width - edge.right}"/><text x="${edge.left - 8}" y="${at}" dy="4" text-anchor="end">${minutes}</text>`;
    }),
  ];
  const drawn = lines.map(({ points }, index) => {
    const places = points.map(([calls, minutes]) => [x(calls).toFixed(1), y(minutes).toFixed(1)]);
    const dots = places.map(([cx, cy]) => `<circle cx="${cx}" cy="${cy}" r="3.5"/>`);
    const path = places.map((place) => place.join(",")).join(" ");
    return `<g class="line${index}"><polyline points="${path}"/>${dots.join("")}</g>`;
  });
  const key = lines.map(({ name }, index) => {
    const at = edge.top + 12 + index * 24;
    const left = width - edge.right + 20;
    return `<g class="line${index}"><polyline points="${left},${at} ${left + 18},${at}"/><circle cx="${left + 9}" cy="${at}" r="3.5"/></g><text x="${left + 26}" y="${at}" dy="4">${name}</text>`;
  });
  const colours = (theme: "light" | "dark") =>
    lines
      .map(({ colour }, index) => `.line${index}{stroke:${colour[theme]};fill:${colour[theme]}}`)
      .join("");
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" font-family="system-ui, sans-serif" font-size="13" role="img"><title>${title}</title>
<style>.paper{fill:#fff}text{fill:#1d2421}.grid{stroke:#e2e6e3}polyline{fill:none;stroke-width:2}circle{stroke:none}${colours("light")}
@media (prefers-color-scheme:dark){.paper{fill:#121614}text{fill:#e4e9e6}.grid{stroke:#2b322e}${colours("dark")}}</style>
<rect class="paper" width="${width}" height="${height}"/>
<text x="${edge.left}" y="30" font-size="16" font-weight="600">${title}</text>
${[...grid, ...drawn, ...key].join("\n")}
<text x="${(edge.left + width - edge.right) / 2}" y="${height - 14}" text-anchor="middle">calls a day for one calendar (logarithmic)</text>
<text transform="translate(18 ${(edge.top + height - edge.bottom) / 2}) rotate(-90)" text-anchor="middle">minutes a change waits, mean (logarithmic)</text></svg>
`;
}

function scale(values: number[], from: number, to: number): (value: number) => number {
  const low = Math.log(Math.min(...values) * 0.9);
  const high = Math.log(Math.max(...values) * 1.1);
  return (value) => from + ((Math.log(value) - low) / (high - low)) * (to - from);
}
