// Builds the page from src/inspector/page at the first request, and keeps it in memory.

import { join } from "node:path";

export interface Page {
  html: Asset;
  script: Asset;
  style: Asset;
}

export interface Asset {
  text: string;
  /** The same, compressed. */
  gzip: Uint8Array<ArrayBuffer>;
  type: string;
  tag: string;
}

const DIR = join(import.meta.dir, "page");

let built: Promise<Page> | undefined;

/** Builds once; after a failure, the next request builds again. */
export function readPage(): Promise<Page> {
  built ??= build().catch((error: unknown) => {
    built = undefined;
    throw error;
  });
  return built;
}

async function build(): Promise<Page> {
  const [html, script, style] = await Promise.all([
    Bun.file(join(DIR, "index.html")).text(),
    bundle("main.tsx"),
    bundle("style.css"),
  ]);
  return {
    html: asset(html, "text/html; charset=utf-8"),
    script: asset(script, "text/javascript; charset=utf-8"),
    style: asset(style, "text/css; charset=utf-8"),
  };
}

async function bundle(file: string): Promise<string> {
  const { outputs } = await Bun.build({
    entrypoints: [join(DIR, file)],
    target: "browser",
    minify: true,
  });
  const entry = outputs.find(({ kind }) => kind === "entry-point") ?? outputs[0];
  if (!entry) throw new Error(`${file} produced no output`);
  return await entry.text();
}

function asset(text: string, type: string): Asset {
  return { text, gzip: Bun.gzipSync(text, { level: 9 }), type, tag: `"${Bun.hash(text).toString(36)}"` };
}
