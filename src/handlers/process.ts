// Guards `process`, which handlers share with the server: their code can't exit it, and their listeners are removed
// with their version.

import { AsyncLocalStorage } from "node:async_hooks";

type Listener = (...args: unknown[]) => unknown;
type Add = (event: string, listener: Listener) => NodeJS.Process;

const REMOVERS = ["off", "removeListener"] as const;
const ADDERS = ["on", "addListener", "once", "prependListener", "prependOnceListener"] as const;

/** Functions that remove the listeners of one version. */
const added = new WeakMap<object, Set<() => void>>();

/** The wrapper that was added in place of a handler's own listener. */
const ownedBy = new WeakMap<Listener, Listener>();

let guarded = false;

/**
 * `process.exit()` in a handler or its signal listeners fails the run and does not stop the server.
 * `current` returns the owner of the code that is running, or undefined for the server's own.
 */
export function guardProcess(current: () => object | undefined): void {
  if (guarded) return;
  guarded = true;
  const exit = process.exit.bind(process);
  process.exit = (code) => {
    if (current() === undefined) return exit(code);
    throw new Error(`a handler called process.exit(${code ?? ""}); throw an error to fail the run`);
  };
  let adding = false;
  for (const name of ADDERS) {
    const add = process[name].bind(process) as Add;
    const guardedAdd: Add = (event, listener) => {
      const owner = current();
      // One of these methods may call another.
      if (owner === undefined || adding || typeof listener !== "function") return add(event, listener);
      adding = true;
      try {
        return add(event, ownedListener(owner, event, listener));
      } finally {
        adding = false;
      }
    };
    Object.assign(process, { [name]: guardedAdd });
  }
  for (const name of REMOVERS) {
    const remove = process[name].bind(process) as Add;
    const guardedRemove: Add = (event, listener) => remove(event, ownedBy.get(listener) ?? listener);
    Object.assign(process, { [name]: guardedRemove });
  }
}

/** Removes the listeners of an owner's code. */
export function removeListeners(owner: object): void {
  for (const remove of added.get(owner) ?? []) remove();
  added.delete(owner);
}

/** Wraps a listener so that it runs in its owner's context, where `process.exit()` throws and errors are reported. */
function ownedListener(owner: object, event: string, listener: Listener): Listener {
  const run = AsyncLocalStorage.bind(async (...args: unknown[]) => listener.apply(process, args));
  const owned: Listener = (...args) => void run(...args);
  ownedBy.set(listener, owned);
  const removers = added.get(owner) ?? new Set();
  added.set(
    owner,
    removers.add(() => process.removeListener(event, owned)),
  );
  return owned;
}
