// Draws the picture of docs/benchmarks.md: deliveries accepted and handled a second by each server that does both. Its colours
// follow the reader's light or dark theme.

import { figuresOf, type Result, type Setup } from "./report.ts";
import { number } from "./table.ts";

const NAME_WIDTH = 175;
const PANEL_WIDTH = 225;
/** The longest bar; the rest of a panel is for its figure. */
const BAR_WIDTH = 160;
const ROW_HEIGHT = 26;
const BAR_HEIGHT = 16;
const HEAD_HEIGHT = 62;
const FOOT_HEIGHT = 30;

const STYLE = `
    text { font: 13px system-ui, sans-serif; fill: #1f2328; }
    .title { font-weight: 600; font-size: 15px; }
    .muted { fill: #59636e; }
    .bellhop { fill: #0969da; }
    .peer { fill: #818b98; }
    .accepted { opacity: 0.35; }
    @media (prefers-color-scheme: dark) {
      text { fill: #f0f6fc; }
      .muted { fill: #9198a1; }
      .bellhop { fill: #4493f8; }
      .peer { fill: #7d8590; }
    }
  `;

export function chart(results: readonly Result[], { connections }: Setup): string {
  const shown = results.filter(({ contender: { stores, handles } }) => stores && handles);
  const rates = shown.flatMap((result) => connections.map((count) => figuresOf(result, count).rate));
  // One scale for all panels, so that their bars can be compared.
  const perPixel = Math.max(...rates) / BAR_WIDTH;
  const width = NAME_WIDTH + connections.length * PANEL_WIDTH;
  const height = HEAD_HEIGHT + shown.length * ROW_HEIGHT + FOOT_HEIGHT;

  const heads = connections.map((count, panel) =>
    text(panelLeft(panel), HEAD_HEIGHT - 12, count === 1 ? "1 connection" : `${number(count)} connections`, "muted"),
  );
  const rows = shown.map((result, row) => {
    const top = HEAD_HEIGHT + row * ROW_HEIGHT;
    const baseline = top + BAR_HEIGHT - 3;
    const color = result.contender.peer ? "peer" : "bellhop";
    const bars = connections.map((count, panel) => {
      const { rate, handledRate } = figuresOf(result, count);
      const left = panelLeft(panel);
      return [
        bar(left, top, rate / perPixel, `${color} accepted`),
        bar(left, top, handledRate / perPixel, color),
        text(left + rate / perPixel + 6, baseline, number(handledRate)),
      ].join("\n  ");
    });
    return [text(0, baseline, result.contender.name.replaceAll("`", "")), ...bars].join("\n  ");
  });
  const legend = "Full colour and figure: accepted, stored and handled a second. Pale: accepted a second.";
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" role="img" aria-labelledby="title">
  <title id="title">Deliveries accepted and handled a second</title>
  <style>${STYLE}</style>
  ${text(0, 18, "Deliveries accepted, stored and handled a second", "title")}
  ${[...heads, ...rows, text(0, height - 8, legend, "muted")].join("\n  ")}
</svg>
`;
}

function panelLeft(panel: number): number {
  return NAME_WIDTH + panel * PANEL_WIDTH;
}

function bar(x: number, y: number, width: number, className: string): string {
  return `<rect class="${className}" x="${x}" y="${y}" width="${width.toFixed(1)}" height="${BAR_HEIGHT}" rx="2"/>`;
}

function text(x: number, y: number, content: string, className?: string): string {
  const attribute = className ? ` class="${className}"` : "";
  return `<text${attribute} x="${x.toFixed(1)}" y="${y}">${Bun.escapeHTML(content)}</text>`;
}
