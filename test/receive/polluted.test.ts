// Handlers share the prototypes of this process: a library that changes one must not make the door say what is not true.

import { expect, test } from "bun:test";

import { sample } from "../../src/clerk/samples.ts";
import { post, signed, spawnServer, temporaryFolder, writeHandlers } from "../harness.ts";

for (const then of [
  "(resolve) => resolve()",
  "(resolve) => resolve({})",
  "(resolve) => resolve(1)",
  "() => {}",
  "(_, reject) => reject(new Error('no'))",
  "() => { throw new Error('no'); }",
])
  test(`with ${then} on Object.prototype.then, nothing that is not stored is answered as if it were`, async () => {
    await using folder = await temporaryFolder();
    await writeHandlers(folder.path, {
      "user.deleted.ts": `export default () => { setTimeout(() => { Object.prototype.then = ${then}; }, 50); }`,
    });
    await using server = await spawnServer(folder.path);
    expect((await post(server.url, sample("user.deleted"))).status).toBe(200);
    await Bun.sleep(200);
    const body = JSON.stringify(sample("user.created"));
    for (let n = 0; n < 3; n += 1) {
      const answer = await fetch(server.url, {
        method: "POST",
        body,
        headers: signed(body),
        signal: AbortSignal.timeout(500),
      }).catch(() => undefined);
      // Svix sends it again when there is no answer.
      expect(answer?.status ?? 500).toBe(500);
      if (answer) expect(await answer.text()).toBe('{"error":"internal"}');
    }
    expect(server.process.exitCode).toBeNull();
  }, 20_000);
