// The page's assets: what the browser loads, and that no style is left over.

import { expect, test } from "bun:test";
import { join } from "node:path";

import { readPage } from "../../src/inspector/bundle.ts";

const PAGE = join(import.meta.dir, "../../src/inspector/page");

async function textOf(pattern: string): Promise<string> {
  const files = await Array.fromAsync(new Bun.Glob(pattern).scan(PAGE));
  return (await Promise.all(files.map((file) => Bun.file(join(PAGE, file)).text()))).join("\n");
}

test("the script is smaller than 45 KB, and the styles than 10 KB, as compressed", async () => {
  const { script, style } = await readPage();
  expect(script.gzip.length).toBeLessThan(45_000);
  expect(style.gzip.length).toBeLessThan(10_000);
});

test("every class of the styles is on an element", async () => {
  const [styles, markup, labels] = await Promise.all([textOf("*.css"), textOf("*.{tsx,html}"), textOf("labels.ts")]);
  const selectors = [...styles.replaceAll(/\/\*[^]*?\*\//g, "").matchAll(/([^{};]*)\{/g)].map(([, text]) => text ?? "");
  const classes = new Set(
    selectors.flatMap((text) => [...text.matchAll(/\.([a-z][\w-]*)/g)].map(([, name]) => name ?? "")),
  );
  expect(classes.size).toBeGreaterThan(50);
  // In quotes: `class="row tight"`, `${isOpen ? " open" : ""}`. The tones of chips are in labels.ts.
  const quoted = [...`${markup}\n${labels}`.matchAll(/"([^"\n]*)"|`([^`]*)`|(?<=\{ |, )(\w+)(?=: ")/g)].map((found) =>
    found.slice(1).join(" "),
  );
  const names = new Set(quoted.join(" ").match(/[a-z][\w-]*/g));
  expect([...classes].filter((name) => !names.has(name))).toEqual([]);
});
