// The probabilities of faults, and the crash of a simulated process.

import { Dead, type Life, type World } from "./world.ts";

/** Probabilities per commit. Both are 0 after the fault phase. */
export interface Faults {
  crash: number;
  fail: number;
}

/** About how many statements a transaction has. A fault at a statement is rarer than at a commit by this factor. */
export const STATEMENTS_PER_TRANSACTION = 10;

export function crash(world: World, life: Life, when: string): never {
  world.log(`CRASH ${when}`);
  life.die();
  throw new Dead(when);
}
