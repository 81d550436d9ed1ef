// A small chart of the last hour, a point per minute. Colours come from the style sheet, so that they follow the theme.

import { signal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import uPlot from "uplot";

export type Values = readonly (number | null)[];

interface ChartProps {
  /** Unix time in milliseconds of the first minute. */
  since: number;
  /** The first one is drawn on top. */
  lines: readonly { values: Values; colour: string }[];
  kind: "bars" | "line";
  /** The minute under the pointer, or null. */
  onPoint: (index: number | null) => void;
}

const HEIGHT = 34;
const scheme = matchMedia("(prefers-color-scheme: dark)");
const dark = signal(scheme.matches);
scheme.addEventListener("change", () => (dark.value = scheme.matches));

export function Chart({ since, lines, kind, onPoint }: ChartProps) {
  const box = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const data = [
    Array.from({ length: lines[0]?.values.length ?? 0 }, (_, index) => since / 1_000 + index * 60),
    ...lines.map(({ values }) => [...values]),
  ] as uPlot.AlignedData;
  // The data changes every few seconds, the options only with the theme.
  useEffect(() => {
    const { current: parent } = box;
    if (!parent) return undefined;
    const made = new uPlot(options(parent, lines, kind, onPoint), data, parent);
    plot.current = made;
    const observer = new ResizeObserver(() => made.setSize({ width: parent.clientWidth, height: HEIGHT }));
    observer.observe(parent);
    return () => {
      observer.disconnect();
      made.destroy();
      plot.current = null;
    };
  }, [dark.value]);
  useEffect(() => plot.current?.setData(data), [since, ...lines.map(({ values }) => values)]);
  return <div class="chart" ref={box} aria-hidden="true" />;
}

function options(
  parent: HTMLElement,
  lines: ChartProps["lines"],
  kind: ChartProps["kind"],
  onPoint: ChartProps["onPoint"],
): uPlot.Options {
  const bars = uPlot.paths.bars?.({ size: [0.7, 8], align: 1 });
  return {
    width: parent.clientWidth,
    height: HEIGHT,
    padding: [2, 0, 1, 0],
    legend: { show: false },
    axes: [{ show: false }, { show: false }],
    cursor: { y: false, drag: { x: false, y: false }, points: { show: false } },
    scales: { y: { range: (_plot, _low, high) => [0, Math.max(high || 0, 1) * 1.05] } },
    hooks: { setCursor: [({ cursor }) => onPoint(cursor.idx ?? null)] },
    series: [
      {},
      ...lines.map(({ colour }) => {
        const drawn = getComputedStyle(parent).getPropertyValue(colour).trim();
        return kind === "bars" && bars
          ? { fill: drawn, width: 0, paths: bars, points: { show: false } }
          : { stroke: drawn, width: 1.5, spanGaps: true, points: { show: false } };
      }),
    ],
  };
}
