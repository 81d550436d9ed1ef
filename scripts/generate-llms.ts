// Writes docs/llms.txt (llmstxt.org), the list of all pages for language models: bun scripts/generate-llms.ts

import { readdir } from "node:fs/promises";
import { join, resolve } from "node:path";

const ROOT = resolve(import.meta.dir, "..");
const FIRST = ["README.md", "AGENTS.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"];

/** The text of docs/llms.txt: each page with its title and its first sentence. */
export async function llmsText(): Promise<string> {
  const docs = (await readdir(join(ROOT, "docs"))).filter((name) => name.endsWith(".md")).toSorted();
  const readme = await readPage("README.md");
  const rows = await Promise.all([
    ...FIRST.map((name) => row(name, `../${name}`)),
    ...docs.map((name) => row(`docs/${name}`, name)),
  ]);
  return `# Bellhop\n\n> ${readme.paragraph}\n\n## Pages\n\n${rows.join("\n")}\n`;
}

async function row(file: string, link: string): Promise<string> {
  const { title, paragraph } = await readPage(file);
  const [sentence = ""] = /^.*?\.(?= |$)/.exec(paragraph) ?? [paragraph];
  return `- [${title}](${link}): ${sentence}`;
}

/** The title, and the first paragraph of plain text without its links. */
async function readPage(file: string): Promise<{ title: string; paragraph: string }> {
  const text = await Bun.file(join(ROOT, file)).text();
  const title = /^# (.+)$/m.exec(text)?.[1] ?? file;
  const paragraphs = text
    .split(/\n{2,}/)
    .filter((paragraph) => /^[A-Z`[*]/.test(paragraph) && !paragraph.startsWith("[!["));
  const paragraph = (paragraphs[0] ?? "").replaceAll(/\[([^\]]+)\]\([^)]+\)/g, "$1").replaceAll(/\s+/g, " ");
  return { title, paragraph: paragraph.trim() };
}

if (import.meta.main) await Bun.write(join(ROOT, "docs/llms.txt"), await llmsText());
