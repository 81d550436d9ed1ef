// Objects that handlers store on `globalThis`, as Prisma and Next advise for development. Such an object outlives the
// version of the code that created it, so that version must stay alive, with its sockets and timers, as long as the
// object.

/** Keeps a version alive until the returned function is called. */
type Hold = () => () => void;

// Libraries store connections one level deep. Searching deeper would mean searching everything.
const MAX_ENTRIES = 1_000;

/** The globals that existed before any handler was loaded. */
let hostGlobals: Map<PropertyKey, unknown> | undefined;
/** The holds that keep the versions of each object alive. */
const kept = new Map<object, (() => void)[]>();

/** Call it before the first version is created. */
export function rememberHostGlobals(): void {
  hostGlobals ??= new Map(entriesOf(globalThis));
}

/** New objects on `globalThis` hold `owners`; objects that are gone release theirs. */
export function keepGlobals(owners: readonly Hold[]): void {
  const found = findObjects();
  for (const object of found)
    if (!kept.has(object))
      kept.set(
        object,
        owners.map((hold) => hold()),
      );
  const gone = [...kept.keys()].filter((object) => !found.has(object));
  const releases = gone.flatMap((object) => kept.get(object) ?? []);
  for (const object of gone) kept.delete(object);
  // Releasing a version's last hold disposes of it.
  for (const release of releases) release();
}

function findObjects(): Set<object> {
  const found = new Set<object>();
  for (const [key, value] of entriesOf(globalThis)) {
    if (!isObject(value) || hostGlobals?.get(key) === value) continue;
    found.add(value);
    for (const [, inner] of entriesOf(value)) if (isObject(inner)) found.add(inner);
  }
  return found;
}

/** The own entries, without calling getters. None for a proxy that throws when it is read. */
function entriesOf(object: object): [PropertyKey, unknown][] {
  try {
    if (object instanceof Map) return [...object].slice(0, MAX_ENTRIES);
    if (object instanceof Set) return [...object].slice(0, MAX_ENTRIES).map((value) => ["", value]);
    return Reflect.ownKeys(object)
      .slice(0, MAX_ENTRIES)
      .map((key) => [key, Reflect.getOwnPropertyDescriptor(object, key)?.value]);
  } catch {
    return [];
  }
}

function isObject(value: unknown): value is object {
  return (typeof value === "object" && value !== null) || typeof value === "function";
}
