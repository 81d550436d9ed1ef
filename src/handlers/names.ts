// Parses a path in `handlers/`: a handler with its event and lane, or the reason why it is not a handler.
// Pure: it reads names, never files.

/** A parsed file name. `event` is a type (`user.created`), a kind (`user.*`) or everything (`*`). */
export interface HandlerName {
  /** The path without its extension: `user.created` or `user.created/crm`. */
  name: string;
  file: string;
  event: string;
  /** Handlers of one kind of object share a lane: in it, one subject's runs are sequential. */
  lane: string;
}

/** A file that is not a handler. `quiet` files are so on purpose, and are only listed on request. */
export interface NotAHandler {
  file: string;
  reason: string;
  quiet: boolean;
}

/** Creates the tables that handlers write to. */
export const SCHEMA = "_schema.sql";
/** Files that are applied once to the handlers' database, in the order of their names. */
export const MIGRATION = /^_migrations\/[^/]+\.sql$/;
/** Called for each run that dies. */
export const DEAD = /^_dead\.[cm]?[jt]s$/;

const SCRIPT = /\.(tsx?|[cm]ts|jsx?|[cm]js)$/;
const TYPE = /^[A-Za-z]\w*(\.\w+)+$/;

/** Reads one path, relative to the folder, with `/` between its parts. */
export function readName(file: string): HandlerName | NotAHandler {
  const not = (reason: string, quiet = false): NotAHandler => ({ file, reason, quiet });
  const parts = file.split("/");

  if (file === SCHEMA) return not("creates the tables that handlers write to", true);
  if (MIGRATION.test(file)) return not("is applied once to the database that handlers write to", true);
  if (DEAD.test(file)) return not("is called for each run that dies", true);
  if (parts.some((part) => part.startsWith("_"))) return not("begins with an underscore: shared code", true);
  if (parts.some((part) => part.startsWith("."))) return not("begins with a dot", true);
  if (/\.d\.[mc]?ts$/.test(file)) return not("is a declaration file", true);
  if (/[._](test|spec)\.\w+$/.test(file)) return not("is a test", true);
  if (!SCRIPT.test(file)) return not("is not a TypeScript or JavaScript file", true);

  const name = file.replace(SCRIPT, "");
  const [base = "", own, ...deeper] = name.split("/");
  if (deeper.length > 0)
    return not(`it is too deep; a handler is at most one folder down: ${base}/${deeper.at(-1)}.ts`);

  const event = readEvent(base);
  if (!event) {
    const what = own === undefined ? "the file's name" : `the folder's name, ${base},`;
    return not(`${what} is not an event; name it like user.created, user.[action] or [...event]`);
  }
  if (own === undefined) return { name, file, event, lane: event.endsWith("*") ? name : kindOf(event) };
  if (!/^[\w-]+$/.test(own)) return not(`${own} is not a plain name; in a folder, use letters, digits, - and _`);
  return { name, file, event, lane: event.endsWith("*") ? name : `${kindOf(event)}/${own}` };
}

/** The file for a handler of this event: `user.*` → `user.[action].ts`. */
export function fileFor(name: string): string {
  const [event = "", ...own] = name.split("/");
  const base = event === "*" ? "[...event]" : event.replace(/\*$/, "[action]");
  return `${[base, ...own].join("/")}.ts`;
}

function readEvent(base: string): string | undefined {
  if (/^\[\.\.\.\w+\]$/.test(base)) return "*";
  const kind = /^([A-Za-z]\w*)\.\[\w+\]$/.exec(base);
  if (kind) return `${kind[1]}.*`;
  return TYPE.test(base) ? base : undefined;
}

function kindOf(type: string): string {
  return type.slice(0, type.indexOf("."));
}
