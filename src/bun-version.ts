// Checks Bun's version. Must import nothing, and use no new feature: an older Bun has to load it.

const NEEDED = "1.4.5";

/** The message for a runtime that Bellhop does not run on; undefined when it does. */
export function describeWrongRuntime(
  version: string | undefined = process.versions.bun,
  executable = process.execPath,
): string | undefined {
  if (version !== undefined && !isOld(version)) return undefined;
  const found = version === undefined ? "this is not Bun" : `this one is ${version}`;
  return `Bellhop needs Bun ${NEEDED} or newer, and ${found}: ${executable}\n\n    Upgrade it: bun upgrade   (https://bun.sh/docs/installation)\n`;
}

function isOld(version: string): boolean {
  const [found, needed] = [version, NEEDED].map((text) => text.split(/[.-]/).map(Number)) as [number[], number[]];
  for (let part = 0; part < 3; part += 1)
    if (found[part] !== needed[part]) return (found[part] ?? 0) < (needed[part] ?? 0);
  return false;
}
