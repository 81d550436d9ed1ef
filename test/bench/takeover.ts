// Measures how long a run of a killed server waits until another server has run it.

import type { Files } from "../harness.ts";
import { until } from "../harness.ts";
import type { Postgres } from "../postgres.ts";
import { startCluster } from "./cluster.ts";
import { load } from "./load.ts";
import { createRequests } from "./requests.ts";
import { type Running, startBellhop } from "./servers.ts";

/** Its first attempt ends only with its server. */
const HANGING: Files = {
  "user.created.ts": `import { on } from "bellhop";
export default on("user.created", { timeout: "10m" }, async ({ run }) => {
  if (run.attempt === 1) await new Promise(() => {});
});
`,
};
const DONE = 2;
const LIMIT_MS = 60_000;

/** Milliseconds from SIGKILL until the run was recorded as done by the other server, for each kill. */
export async function measureTakeovers(postgres: Postgres, kills: number): Promise<number[]> {
  await using opened = new AsyncDisposableStack();
  const url = await postgres.database();
  const survivor = opened.use(await startCluster(postgres, url, HANGING));
  const { sql } = survivor;
  const requests = createRequests();
  const times: number[] = [];
  for (let kill = 1; kill <= kills; kill += 1) {
    await using victim: Running = await startBellhop(HANGING, { env: { INBOX_URL: url } });
    const answered: string[] = [];
    await load({ port: victim.port, requests, connections: 1, seconds: 0, answered });
    const [id] = answered;
    const isAt = (state: number, attempts: number) => async () => {
      const rows = await sql`
        select 1 from run r join delivery d on d.seq = r.seq
        where d.id = ${id} and r.state = ${state} and r.attempts = ${attempts}`;
      return rows.length === 1 || undefined;
    };
    await until("the first attempt", isAt(1, 1));
    // Beats begin with a server's start, so kills would otherwise come at the same moment of a beat.
    await Bun.sleep(1_000 + Math.random() * 1_000);
    const killedAt = performance.now();
    process.kill(victim.pid, "SIGKILL");
    await until("the takeover", isAt(DONE, 2), LIMIT_MS);
    times.push(performance.now() - killedAt);
    process.stderr.write(`kill ${kill} of ${kills}: ${Math.round(times.at(-1)!)} ms\n`);
  }
  await survivor.stop();
  return times;
}
