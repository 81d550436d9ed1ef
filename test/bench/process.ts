// Reads the CPU time and memory of a process and its children from /proc, without involving the process.

import { readdirSync, readFileSync } from "node:fs";

export interface Usage {
  /** User and system time of the whole process tree, including children that have exited. */
  cpuSeconds: number;
  residentMegabytes: number;
}

// `man 5 proc`: USER_HZ is 100 on every Linux that Bun runs on.
const TICKS_PER_SECOND = 100;

/** The usage of processes and all their descendants; NaN on systems without /proc. */
export function usageOf(...pids: number[]): Usage {
  const all = tree(pids);
  if (all.length === 0) return { cpuSeconds: Number.NaN, residentMegabytes: Number.NaN };
  return {
    cpuSeconds: all.reduce((sum, { ticks }) => sum + ticks, 0) / TICKS_PER_SECOND,
    residentMegabytes: all.reduce((sum, { pid }) => sum + megabytes(`/proc/${pid}/status`, /VmRSS:\s+(\d+)/), 0),
  };
}

/** The memory of a process and its descendants. Pages that they share count once, such as the buffers of Postgres. */
export function proportionalMegabytes(pid: number): number {
  return tree([pid]).reduce((sum, { pid }) => sum + megabytes(`/proc/${pid}/smaps_rollup`, /^Pss:\s+(\d+)/m), 0);
}

function tree(roots: readonly number[]) {
  const children = Map.groupBy(processes(), ({ parent }) => parent);
  const found = processes().filter(({ pid }) => roots.includes(pid));
  for (const { pid } of found) found.push(...(children.get(pid) ?? []));
  return found;
}

function processes(): { pid: number; parent: number; ticks: number }[] {
  return entries("/proc").flatMap((name) => {
    if (!/^\d+$/.test(name)) return [];
    const text = read(`/proc/${name}/stat`);
    // The fields after the command name, which may contain spaces and parentheses: state, parent, …
    const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
    if (fields.length < 15) return [];
    const ticks = fields.slice(11, 15).reduce((sum, field) => sum + Number(field), 0);
    return [{ pid: Number(name), parent: Number(fields[1]), ticks }];
  });
}

function megabytes(path: string, kilobytes: RegExp): number {
  return Number(kilobytes.exec(read(path))?.[1] ?? 0) / 1_024;
}

function entries(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}

/** The text of a file; empty when the process has exited meanwhile. */
function read(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}
