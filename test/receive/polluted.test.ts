// Handlers share the server's prototypes. A library that changes one must not cause wrong answers.

import { expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { join } from "node:path";

import { sample } from "../../src/clerk/samples.ts";
import { post, signed, spawnServer, temporaryFolder, until, writeHandlers } from "../harness.ts";

for (const then of [
  "(resolve) => resolve()",
  "(resolve) => resolve({})",
  "(resolve) => resolve(1)",
  "() => {}",
  "(_, reject) => reject(new Error('no'))",
  "() => { throw new Error('no'); }",
])
  test(`does not confirm a delivery that is not stored while Object.prototype.then is ${then}`, async () => {
    await using folder = await temporaryFolder();
    await writeHandlers(folder.path, {
      "user.deleted.ts": `import { writeFileSync } from "node:fs";
export default () => {
  setTimeout(() => {
    Object.prototype.then = ${then};
    writeFileSync(new URL("../changed", import.meta.url), "");
  }, 50);
}`,
    });
    await using server = await spawnServer(folder.path);
    expect((await post(server.url, sample("user.deleted"))).status).toBe(200);
    await until("the prototype to change", () => existsSync(join(folder.path, "changed")) || undefined);
    const body = JSON.stringify(sample("user.created"));
    for (let n = 0; n < 3; n += 1) {
      const answer = await fetch(server.url, {
        method: "POST",
        body,
        headers: signed(body),
        signal: AbortSignal.timeout(500),
      }).catch(() => undefined);
      // No answer is fine as well: Svix then retries.
      expect(answer?.status ?? 500).toBe(500);
      if (answer) expect(await answer.text()).toBe('{"error":"internal"}');
    }
    expect(server.process.exitCode).toBeNull();
  }, 20_000);
