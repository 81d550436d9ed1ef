// What a process and its children cost, from /proc: nothing is asked of the process itself.

import { readdirSync, readFileSync } from "node:fs";

export interface Usage {
  /** User and system, of the whole tree, also of children that have ended. */
  cpuSeconds: number;
  residentMegabytes: number;
}

// Of `man 5 proc`: a hundred a second on every Linux that Bun runs on.
const TICKS = 100;

/** Of the process and all below it. NaN where there is no /proc. */
export function usageOf(pid: number): Usage {
  const all = tree(pid);
  if (all.length === 0) return { cpuSeconds: Number.NaN, residentMegabytes: Number.NaN };
  return {
    cpuSeconds: all.reduce((sum, { ticks }) => sum + ticks, 0) / TICKS,
    residentMegabytes: all.reduce((sum, { pid }) => sum + resident(pid), 0),
  };
}

function tree(root: number) {
  const children = Map.groupBy(processes(), ({ parent }) => parent);
  const found = processes().filter(({ pid }) => pid === root);
  for (const { pid } of found) found.push(...(children.get(pid) ?? []));
  return found;
}

function processes(): { pid: number; parent: number; ticks: number }[] {
  return entries("/proc").flatMap((name) => {
    if (!/^\d+$/.test(name)) return [];
    const text = read(`/proc/${name}/stat`);
    // After the command's name, which may contain anything: state, parent, …
    const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
    if (fields.length < 15) return [];
    const ticks = fields.slice(11, 15).reduce((sum, each) => sum + Number(each), 0);
    return [{ pid: Number(name), parent: Number(fields[1]), ticks }];
  });
}

function resident(pid: number): number {
  return Number(/VmRSS:\s+(\d+)/.exec(read(`/proc/${pid}/status`))?.[1] ?? 0) / 1_024;
}

function entries(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}

/** Empty when it has gone meanwhile. */
function read(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}
