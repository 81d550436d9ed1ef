// What goes wrong: how often, and how a process dies.

import { Dead, type Life, type World } from "./world.ts";

/** Probabilities for each commit. All of them are zero when the faults are over. */
export interface Faults {
  crash: number;
  fail: number;
}

/** A transaction has about so many statements: a fault at one of them is that much rarer than at a commit. */
export const STATEMENTS = 10;

export function crash(world: World, life: Life, when: string): never {
  world.log(`CRASH ${when}`);
  life.die();
  throw new Dead(when);
}
