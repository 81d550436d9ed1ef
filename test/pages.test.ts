// The pages of the documentation can be read and followed: links, headings, widths and lists.

import { expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { join } from "node:path";

import { anchors, links, page, pages, ROOT } from "./pages.ts";

test("links lead to files and headings that exist", () => {
  const broken = pages.flatMap((source) =>
    links(source).flatMap(({ link, target, anchor }) => {
      // A page of GitHub, outside of the repository's files.
      if (target.startsWith("..")) return [];
      if (!existsSync(join(ROOT, target))) return [`${source.file}: ${link}`];
      if (anchor === undefined || anchors(page(target)).has(anchor)) return [];
      return [`${source.file}: ${link} is not a heading`];
    }),
  );
  expect(broken).toEqual([]);
});

test("the README links every page of docs/", () => {
  const listed = links(page("README.md")).map(({ target }) => target);
  const docs = pages.map(({ file }) => file).filter((file) => file.startsWith("docs/"));
  expect(docs.filter((file) => !listed.includes(file))).toEqual([]);
});

test("the README has at most 1,300 words", () => {
  expect(page("README.md").text.split(/\s+/).length).toBeLessThanOrEqual(1_300);
});

test("tables have at most 120 columns, and 100 in the README", () => {
  const wide = pages.flatMap(({ file, text }) =>
    text
      .replaceAll(/^```[\s\S]*?^```/gm, "")
      .split("\n")
      .filter((line) => line.startsWith("|") && line.length > (file === "README.md" ? 100 : 120))
      .map((line) => `${file}: ${line}`),
  );
  expect(wide).toEqual([]);
});

test("every path in CONTRIBUTING exists", () => {
  for (const [, path = ""] of page("CONTRIBUTING.md").text.matchAll(/`((?:src|test|scripts)\/[\w./-]+)`/g))
    expect(existsSync(join(ROOT, path)), path).toBe(true);
});
