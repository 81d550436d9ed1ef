// A folder of handlers that is followed while a test changes it.

import { mkdir, rename, rm } from "node:fs/promises";
import { join } from "node:path";

import { currentRun } from "../../src/handlers/context.ts";
import { type Change, type HandlerFolder, openHandlers } from "../../src/handlers/folder.ts";
import { type Files, temporaryFolder, until, writeHandlers } from "../harness.ts";

export interface Living extends AsyncDisposable {
  path: string;
  dir: string;
  folder: HandlerFolder;
  /** What was told, a line each: `live user.created.ts`. */
  told: string[];
  changes: Change[];
  /** What nobody caught, with the handler whose run it came from. */
  late: { error: unknown; handler: string | undefined }[];
  write(file: string, text: string): Promise<void>;
  move(from: string, to: string): Promise<void>;
  remove(file: string): Promise<void>;
  /** Calls a handler as it is now. */
  call(name: string, context?: object): unknown;
  /** What a handler answers, or why it has no code; undefined when there is no such handler. */
  answer(name: string): unknown;
  /** Waits until the last lines told are these, and nothing else comes after them. */
  tells(...lines: string[]): Promise<void>;
}

/** Opens a folder with these files and follows it, unless `follow` is false: then it is looked at by hand. */
export async function living(files: Files, { follow = true } = {}): Promise<Living> {
  await using opened = new AsyncDisposableStack();
  const { path } = opened.use(await temporaryFolder());
  const dir = join(path, "handlers");
  await mkdir(dir);
  await writeHandlers(path, files);
  // What was saved in the very moment in which it is read is read again, and told.
  await Bun.sleep(10);
  const late: Living["late"] = [];
  const folder = await openHandlers(dir, (error) => late.push({ error, handler: currentRun.getStore()?.handler }));
  opened.defer(() => folder.close());
  const told: string[] = [];
  const changes: Change[] = [];
  if (follow)
    folder.watch((some) => {
      changes.push(...some);
      told.push(...some.map(describeChange));
    });
  const call = (name: string, context: object = {}): unknown => {
    const code = folder.table.get(name)?.code;
    if (!code) throw new Error(`${name} has no code`);
    return code.version.enter(() => code.run(context as never));
  };
  let seen = 0;
  const held = opened.move();
  return {
    path,
    dir,
    folder,
    told,
    changes,
    late,
    write: async (file, text) => void (await Bun.write(join(dir, file), text)),
    move: (from, to) => rename(join(dir, from), join(dir, to)),
    remove: (file) => rm(join(dir, file), { recursive: true }),
    call,
    answer(name) {
      const handler = folder.table.get(name);
      return handler?.code ? call(name) : handler?.error?.message;
    },
    async tells(...lines) {
      const from = seen;
      await until(`${lines.join(", ")} instead of ${told.slice(from).join(", ")}`, () =>
        told.length >= from + lines.length ? true : undefined,
      ).catch(() => undefined);
      // Twice would be once too often.
      await Bun.sleep(60);
      seen = told.length;
      const missing = lines.filter((line) => !told.slice(from).includes(line));
      if (missing.length > 0 || told.length !== from + lines.length)
        throw new Error(`told [${told.slice(from).join(", ")}], expected [${lines.join(", ")}]`);
    },
    [Symbol.asyncDispose]: () => held.disposeAsync(),
  };
}

/** A change in a few words. */
export function describeChange(change: Change): string {
  if (change.kind === "ignored") return `ignored ${change.file}`;
  if (change.kind === "dead") return `dead ${change.file} ${change.is}`;
  if (change.kind === "schema") return "schema";
  const { kind, handler } = change;
  return `${kind === "live" && change.isNew ? "new" : kind} ${handler.file}`;
}

/** A handler that answers with this. */
export const answers = (value: unknown) => `export default () => ${JSON.stringify(value)};\n`;
