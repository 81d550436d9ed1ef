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
const [RUNNING, DONE] = [1, 2];
const LIMIT_MS = 60_000;

/** Milliseconds from SIGKILL until another server has recorded the run as done, for each kill. */
export async function measureTakeovers(postgres: Postgres, kills: number): Promise<number[]> {
  await using opened = new AsyncDisposableStack();
  const url = await postgres.database();
  const { sql, ...first } = opened.use(await startCluster(postgres, url, HANGING));
  const start = async (): Promise<Running> => opened.use(await startBellhop(HANGING, { env: { INBOX_URL: url } }));
  let servers: Running[] = [first, await start()];
  const requests = createRequests();
  const times: number[] = [];
  for (let kill = 1; kill <= kills; kill += 1) {
    const answered: string[] = [];
    await load({ port: servers[0]!.port, requests, connections: 1, seconds: 0, answered });
    const runAt = async (state: number, attempts: number): Promise<{ owner: string } | undefined> => {
      const [row] = await sql`
        select owner from run r join delivery d on d.seq = r.seq
        where d.id = ${answered[0]} and r.state = ${state} and r.attempts = ${attempts}`;
      return row;
    };
    const { owner } = await until("the first attempt", () => runAt(RUNNING, 1));
    const [{ about }] = (await sql`select about from server where id = ${owner}`) as [{ about: string }];
    const { pid: victim } = JSON.parse(about) as { pid: number };
    // Otherwise all kills would come at the same moment of a beat.
    await Bun.sleep(1_000 + Math.random() * 1_000);
    const killedAt = performance.now();
    process.kill(victim, "SIGKILL");
    await until("the takeover", () => runAt(DONE, 2), LIMIT_MS);
    times.push(performance.now() - killedAt);
    process.stderr.write(`kill ${kill} of ${kills}: ${Math.round(times.at(-1)!)} ms\n`);
    servers = [...servers.filter(({ pid }) => pid !== victim), await start()];
  }
  return times;
}
