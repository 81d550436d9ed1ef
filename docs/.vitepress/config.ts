// The site that `bun run docs` builds from the repository's own Markdown. The README is its start page, and the list of
// pages at the README's end is the sidebar. Never a second text: what is wrong on the site is wrong in the page.

import { cpSync, existsSync, globSync, readFileSync } from "node:fs";
import { dirname, join, matchesGlob, normalize } from "node:path";

import { renderMermaidSVG, THEMES } from "beautiful-mermaid";

import { slug } from "./slug.ts";

// VitePress loads this file from a bundle, in the directory of the original.
const ROOT = join(import.meta.dirname, "../..");
const PAGES = ["*.md", "docs/*.md", "examples/**/README.md"];
const LINK = /\[([^\]]+)\]\(([^)#\s]+)(#[^)\s]*)?\)/g;

const read = (file: string) => readFileSync(join(ROOT, file), "utf8");

/**
 * `Write handlers:` and the list below it become a group of the sidebar, with the titles of the pages. A page that the
 * README links elsewhere, as below its figures, is added to the last group.
 */
function sidebar() {
  const readme = read("README.md");
  const [, list = ""] = readme.split("\n## Documentation\n");
  const [text = ""] = list.split("\n## ");
  const groups = [...text.matchAll(/^(\w.*):\n\n((?:- .*\n(?: .*\n)*)+)/gm)].map(([, name, links = ""]) => ({
    name,
    pages: [...links.matchAll(LINK)].map(([, , file = ""]) => file),
  }));
  const listed = new Set(groups.flatMap(({ pages }) => pages));
  const others = [...readme.matchAll(LINK)].map(([, , file = ""]) => file);
  groups.at(-1)?.pages.push(...new Set(others.filter((file) => isPageOfSite(file) && !listed.has(file))));
  return groups.map(({ name, pages }) => ({
    text: name,
    items: pages.map((file) => ({
      text: /^# (.+)$/m.exec(read(file))?.[1] ?? file,
      link: `/${file.replace(/\.md$/, "")}`,
    })),
  }));
}

const isPageOfSite = (file: string) => PAGES.some((pattern) => matchesGlob(file, pattern));

/** The file of the repository that a link leads to, if it is not a page, such as those of examples/deploy/. */
function linkedFile(link: string, page: string): string | undefined {
  const file = normalize(join(dirname(page), link));
  const isPage = isPageOfSite(file) || file.startsWith("..");
  return isPage || /^[a-z]+:|^#/.test(link) || !existsSync(join(ROOT, file)) ? undefined : file;
}

function linkedFiles(): string[] {
  return globSync(PAGES, { cwd: ROOT }).flatMap((page) =>
    [...read(page).matchAll(LINK)].flatMap(([, , link = ""]) => linkedFile(link, page) ?? []),
  );
}

interface Markdown {
  renderer: {
    rules: { link_open: Rule; fence: Rule };
    renderToken(tokens: Token[], index: number, options: unknown): string;
  };
}
type Token = {
  content: string;
  info: string;
  attrGet(name: string): string;
  attrSet(name: string, value: string): void;
};
type Rule = (
  tokens: Token[],
  index: number,
  options: unknown,
  env: { relativePath: string },
  renderer: Markdown["renderer"],
) => string;

/** Leaves links to files as they are: VitePress would look for a page of that name. */
function openFiles({ renderer: { rules } }: Markdown) {
  const openPage = rules.link_open;
  rules.link_open = (tokens, index, options, env, renderer) => {
    const token = tokens[index];
    if (!linkedFile(token.attrGet("href"), env.relativePath)) return openPage(tokens, index, options, env, renderer);
    // Without a target, the site's router would fetch it as a page.
    token.attrSet("target", "_self");
    return renderer.renderToken(tokens, index, options);
  };
}

/** Diagrams become pictures when the site is built, one for each theme, so that a reader's browser needs no script. */
function drawDiagrams({ renderer: { rules } }: Markdown) {
  const { fence } = rules;
  rules.fence = (tokens, index, options, env, renderer) => {
    const { content, info } = tokens[index];
    if (info !== "mermaid") return fence(tokens, index, options, env, renderer);
    const picture = (theme: string, name: string) => {
      // Pictures load no fonts.
      const svg = renderMermaidSVG(content, THEMES[name]).replaceAll(/@import url\([^)]*\);/g, "");
      const source = `data:image/svg+xml;base64,${Buffer.from(svg).toString("base64")}`;
      return `<img class="diagram-${theme}" src="${source}" alt="Diagram">`;
    };
    return `<p>${picture("light", "zinc-light")}${picture("dark", "zinc-dark")}</p>\n`;
  };
}

export default {
  title: "Bellhop",
  description: "Receives Clerk's webhooks and runs your code.",
  srcDir: "..",
  srcExclude: ["**/node_modules/**", ".*/**", "{coverage,data,handlers,packages,scripts,src,test}/**"],
  rewrites: { "README.md": "index.md" },
  themeConfig: {
    search: { provider: "local" },
    outline: [2, 3],
    sidebar: sidebar(),
  },
  markdown: {
    anchor: { slugify: slug },
    config(markdown: Markdown) {
      openFiles(markdown);
      drawDiagrams(markdown);
    },
  },
  vite: {
    plugins: [
      {
        name: "no-badges",
        enforce: "pre",
        // Badges are about the repository, and link to its host.
        transform: (code: string, id: string) =>
          id.endsWith("/README.md") ? code.replaceAll(/^\[!\[.*\n/gm, "") : undefined,
      },
    ],
  },
  buildEnd({ outDir }: { outDir: string }) {
    for (const file of linkedFiles()) cpSync(join(ROOT, file), join(outDir, file));
  },
};
