// Opens a handlers folder that is watched while a test changes it.

import { mkdir, rename, rm } from "node:fs/promises";
import { join } from "node:path";

import { currentRun } from "../../src/handlers/context.ts";
import { type Change, type HandlerFolder, openHandlers } from "../../src/handlers/folder.ts";
import { type Files, temporaryFolder, until, writeHandlers } from "../harness.ts";

export interface LiveFolder extends AsyncDisposable {
  path: string;
  dir: string;
  folder: HandlerFolder;
  /** The reported changes, such as `live user.created.ts`. */
  reported: string[];
  changes: Change[];
  /** Uncaught errors, with the handler whose run threw them. */
  late: { error: unknown; handler: string | undefined }[];
  write(file: string, text: string): Promise<void>;
  move(from: string, to: string): Promise<void>;
  remove(file: string): Promise<void>;
  /** Calls the current version of a handler. */
  call(name: string, context?: object): unknown;
  /** A handler's result, or its load error when it has no code. Undefined when there is no such handler. */
  result(name: string): unknown;
  /** Waits until exactly these changes have been reported since the last call. */
  expectReported(...lines: string[]): Promise<void>;
}

/** Opens a folder with these files and watches it. With `follow: false`, the test calls `folder.look()` itself. */
export async function liveFolder(files: Files, { follow = true } = {}): Promise<LiveFolder> {
  await using opened = new AsyncDisposableStack();
  const { path } = opened.use(await temporaryFolder());
  const dir = join(path, "handlers");
  await mkdir(dir);
  await writeHandlers(path, files);
  // A file that is read at the moment of its save is read again, and would be reported.
  await Bun.sleep(10);
  const late: LiveFolder["late"] = [];
  const folder = await openHandlers(dir, (error) => late.push({ error, handler: currentRun.getStore()?.handler }));
  opened.defer(() => folder.close());
  const reported: string[] = [];
  const changes: Change[] = [];
  if (follow)
    folder.watch((some) => {
      changes.push(...some);
      reported.push(...some.map(describeChange));
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
    reported,
    changes,
    late,
    write: async (file, text) => void (await Bun.write(join(dir, file), text)),
    move: (from, to) => rename(join(dir, from), join(dir, to)),
    remove: (file) => rm(join(dir, file), { recursive: true }),
    call,
    result(name) {
      const handler = folder.table.get(name);
      return handler?.code ? call(name) : handler?.error?.message;
    },
    async expectReported(...lines) {
      const from = seen;
      await until(`${lines.join(", ")} instead of ${reported.slice(from).join(", ")}`, () =>
        reported.length >= from + lines.length ? true : undefined,
      ).catch(() => undefined);
      // A change must not be reported twice.
      await Bun.sleep(60);
      seen = reported.length;
      const missing = lines.filter((line) => !reported.slice(from).includes(line));
      if (missing.length > 0 || reported.length !== from + lines.length)
        throw new Error(`reported [${reported.slice(from).join(", ")}], expected [${lines.join(", ")}]`);
    },
    [Symbol.asyncDispose]: () => held.disposeAsync(),
  };
}

/** A change as one line. */
export function describeChange(change: Change): string {
  if (change.kind === "ignored") return `ignored ${change.file}`;
  if (change.kind === "dead") return `dead ${change.file} ${change.is}`;
  if (change.kind === "schema") return "schema";
  const { kind, handler } = change;
  return `${kind === "live" && change.isNew ? "new" : kind} ${handler.file}`;
}

/** The source of a handler that returns this value. */
export const returning = (value: unknown) => `export default () => ${JSON.stringify(value)};\n`;
