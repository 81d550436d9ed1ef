// Writes `dist/ensure-user.js`: `bellhop/ensure-user` as one file of plain JavaScript, for applications on Node.

import { resolve } from "node:path";

const ROOT = resolve(import.meta.dir, "..");

/** Returns the path of the file. */
export async function buildEnsureUser(folder: string): Promise<string> {
  const { outputs } = await Bun.build({
    entrypoints: [resolve(ROOT, "src/mirror/ensure-user.ts")],
    outdir: folder,
    target: "node",
    format: "esm",
  });
  return outputs[0]!.path;
}

if (import.meta.main) console.log(await buildEnsureUser(resolve(ROOT, "dist")));
