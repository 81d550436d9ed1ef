// Checks Bun's version. Imported first, because an older Bun would fail on a missing feature without an explanation.
// Must import nothing, and use no new feature.

const NEEDED = "1.4.5";

function isOld(version: string): boolean {
  const [found, needed] = [version, NEEDED].map((text) => text.split(/[.-]/).map(Number)) as [number[], number[]];
  for (let part = 0; part < 3; part += 1)
    if (found[part] !== needed[part]) return (found[part] ?? 0) < (needed[part] ?? 0);
  return false;
}

const version = process.versions.bun;
if (version === undefined || isOld(version)) {
  const found = version === undefined ? "this is not Bun" : `this one is ${version}`;
  console.error(
    `Bellhop needs Bun ${NEEDED} or newer, and ${found}: ${process.execPath}\n\n    Upgrade it: bun upgrade   (https://bun.sh/docs/installation)\n`,
  );
  process.exit(1);
}
