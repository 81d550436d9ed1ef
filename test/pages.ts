// Reads the pages of the documentation: their code blocks, links and headings. Never runs them.

import { dirname, join, normalize, resolve } from "node:path";

import { slug } from "../docs/.vitepress/slug.ts";

export const ROOT = resolve(import.meta.dir, "..");

export interface Page {
  /** The path in the repository. */
  file: string;
  text: string;
}

/** Every page: those at the top, those of docs/, and the READMEs of the examples. */
export const pages: readonly Page[] = await Promise.all(
  ["*.md", "docs/*.md", "examples/**/README.md"]
    .flatMap((pattern) => [...new Bun.Glob(pattern).scanSync({ cwd: ROOT })].toSorted())
    .map(async (file) => ({ file, text: await Bun.file(join(ROOT, file)).text() })),
);

export function page(file: string): Page {
  const found = pages.find((known) => known.file === file);
  if (!found) throw new Error(`there is no page ${file}`);
  return found;
}

/** The code blocks in some languages. */
export function blocks({ text }: Page, ...languages: string[]): string[] {
  const fence = new RegExp(`^\`\`\`(?:${languages.join("|")})\n([\\s\\S]*?)^\`\`\``, "gm");
  return [...text.matchAll(fence)].map(([, code = ""]) => code);
}

/** The file that a block's first line names, such as `handlers/user.created.ts`. */
export function fileOf(code: string): string | undefined {
  return /^(?:\/\/|--) ([\w[\]./-]+\.\w+)(?= |\n)/.exec(code)?.[1];
}

/**
 * The contents of `handlers/` that a page shows, by path. A page that shows a file twice has two versions, of which the
 * second begins with that file.
 */
export function handlerFolders(shown: Page): Record<string, string>[] {
  const folders: Record<string, string>[] = [{}];
  for (const code of blocks(shown, "ts", "sql")) {
    const file = fileOf(code);
    if (!file?.startsWith("handlers/")) continue;
    const name = file.slice("handlers/".length);
    if (folders.at(-1)![name] !== undefined) folders.push({});
    folders.at(-1)![name] = code;
  }
  return folders.filter((files) => Object.keys(files).length > 0);
}

/** Links to other files of the repository, and to headings, outside of code. */
export function links({ file, text }: Page): { link: string; target: string; anchor: string | undefined }[] {
  const prose = text.replaceAll(/^```[\s\S]*?^```/gm, "").replaceAll(/`[^`\n]*`/g, "``");
  return [...prose.matchAll(/\]\(([^)\s]+)\)/g)].flatMap(([, link = ""]) => {
    if (/^[a-z]+:/.test(link)) return [];
    const [path = "", anchor] = link.split("#");
    return [{ link, target: path === "" ? file : normalize(join(dirname(file), path)), anchor }];
  });
}

/** The anchors of a page's headings. */
export function anchors({ text }: Page): Set<string> {
  const prose = text.replaceAll(/^```[\s\S]*?^```/gm, "");
  return new Set([...prose.matchAll(/^#{1,6} (.+)$/gm)].map(([, title = ""]) => slug(title)));
}
