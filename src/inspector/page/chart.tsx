// A small chart in SVG: bars, or lines on a logarithmic scale. Colours come from the style sheet by `currentColor`.

export type Values = readonly (number | null)[];

interface ChartProps {
  /** The first one is drawn on top. `tone` is a class name. */
  lines: readonly { values: Values; tone: string }[];
  kind: "bars" | "line";
  /** The description for screen readers. */
  label: string;
}

const WIDTH = 120;
const HEIGHT = 24;

export function Chart({ lines, kind, label }: ChartProps) {
  return (
    <svg class="chart" viewBox={`0 0 ${WIDTH} ${HEIGHT}`} preserveAspectRatio="none" role="img" aria-label={label}>
      {lines.toReversed().map(({ values, tone }) => (
        <path
          key={tone}
          class={tone}
          d={kind === "bars" ? barsOf(values) : lineOf(values)}
          {...(kind === "bars"
            ? { fill: "currentColor" }
            : { fill: "none", stroke: "currentColor", "stroke-width": 1.5, "vector-effect": "non-scaling-stroke" })}
        />
      ))}
    </svg>
  );
}

/** Pure: a path of bars from the bottom. A value above zero is at least two units high, so that it is seen. */
export function barsOf(values: Values): string {
  const step = WIDTH / Math.max(1, values.length);
  const highest = Math.max(1, ...values.map((value) => value ?? 0));
  const bars = values.map((value, index) => {
    const height = value ? Math.max(2, (value / highest) * HEIGHT) : 0.5;
    return `M${round(index * step)} ${HEIGHT}v${round(-height)}h${round(step * 0.7)}V${HEIGHT}z`;
  });
  return bars.join("");
}

/** Pure: a path of a line. Durations differ by orders of magnitude, so the scale is logarithmic; gaps are bridged. */
export function lineOf(values: Values): string {
  const step = WIDTH / Math.max(1, values.length - 1);
  const highest = Math.log10(1 + Math.max(1, ...values.map((value) => value ?? 0)));
  const points = values.flatMap((value, index) =>
    value === null ? [] : [[round(index * step), round(HEIGHT - 1 - (Math.log10(1 + value) / highest) * (HEIGHT - 2))]],
  );
  const [only] = points;
  if (points.length === 1 && only) return `M${only[0]} ${only[1]}h2`;
  return points.map(([x, y], index) => `${index === 0 ? "M" : "L"}${x} ${y}`).join("");
}

function round(value: number): number {
  return Math.round(value * 10) / 10;
}
