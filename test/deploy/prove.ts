// `bun test/deploy/prove.ts [--only image]`: proves with real programs that the binary, the image and the systemd unit
// work. Needs root on Debian. Prints each fact; a line "not checked: …" names each gap and its reason.

import { parseArgs } from "node:util";

import { temporaryFolder } from "../harness.ts";
import { binary } from "./binary.ts";
import { image } from "./image.ts";
import { missing } from "./tools.ts";
import { unit } from "./unit.ts";

const PROOFS = { unit, binary, image };

const { values } = parseArgs({ options: { only: { type: "string" } } });

for (const [key, proof] of Object.entries(PROOFS)) {
  if (values.only && values.only !== key) continue;
  const startedAt = performance.now();
  const reason = await missing(proof.needs);
  if (reason) {
    console.log(`\nNOT CHECKED: ${proof.name}: ${reason}\n`);
    continue;
  }
  console.log(proof.name);
  try {
    await using folder = await temporaryFolder();
    for await (const fact of proof.prove(folder.path))
      console.log(`  ${fact.startsWith("not checked") ? "-" : "✓"} ${fact}`);
  } catch (error) {
    console.error(`  ✗ ${error instanceof Error ? error.message : String(error)}`);
    process.exitCode = 1;
  }
  console.log(`  ${((performance.now() - startedAt) / 1_000).toFixed(1)} s`);
}

console.log("not checked: fly.toml, render.yaml and railway.json by their hosts' schemas, which no package has");
