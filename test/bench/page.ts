// Writes the figures of a run: docs/benchmarks.md with its picture, and the README's rows.

import { join } from "node:path";

import { chart } from "./chart.ts";
import type { Contender } from "./contenders.ts";
import {
  answeringTable,
  conditions,
  halfTable,
  replaceFigures,
  type Result,
  type Setup,
  storingTable,
  summary,
  versions,
} from "./report.ts";

/** Writes into a checkout; returns the paths of the files. `missing` contenders could not run on this machine. */
export async function writeFigures(
  root: string,
  results: readonly Result[],
  setup: Setup,
  missing: readonly Contender[] = [],
): Promise<string[]> {
  const readme = await Bun.file(join(root, "README.md")).text();
  const files = {
    "README.md": replaceFigures(readme, summary(results, setup)),
    "docs/benchmarks.md": page(results, setup, missing),
    "docs/benchmarks.svg": chart(results, setup),
  };
  await Promise.all(Object.entries(files).map(([path, text]) => Bun.write(join(root, path), text)));
  return Object.keys(files);
}

function page(results: readonly Result[], setup: Setup, missing: readonly Contender[]): string {
  const storing = results.filter(({ contender }) => contender.stores);
  const answering = results.filter(({ contender }) => !contender.stores);
  return `# Benchmarks

Deliveries a second that Bellhop accepts, stores and handles, beside the receivers that a team would build without it.
All were measured in one run on one machine. Written by \`bun run bench --write\`.

![Deliveries accepted and handled a second, by connections](benchmarks.svg)

${conditions(setup)}

## Servers that store

A 200 means that the delivery is on the disk. Then it is handled, and that is recorded.

${storingTable(results, setup)}

- \`at\`: connections. Each sends a request, waits for the answer and sends the next one.
- \`accepted/s\`: answers with 200; \`handled/s\`: the same, with the time counted until the last one is handled.
- \`p50\`, \`p99\`: of the answer, in ms. \`rest\`: from the last answer until all is handled, in ms.
- \`CPU µs\`: CPU time for each delivery. \`MB\`: memory. Both include the processes of Postgres and Redis.

${descriptions(storing)}

### At half of the peak

Each server at half of the highest rate that it reached above, with requests that are due at even intervals.

${halfTable(results)}

## Servers that store nothing

These verify and answer. A handler in them works before the answer, or loses its delivery when the process ends.

${answeringTable(results, setup)}

${descriptions(answering)}

## Method

Each request is a signed \`user.created\` of 1 KB with its own id and its own user. Ids of Svix and Clerk begin with their time:
these are as old as if they were made when the request is due. Requests are signed before a turn, and the load generator's
CPU time is not counted. All servers run during the whole run; one at a time is under load, each round begins with another
one, and the bench waits until all is handled before the next turn. Handlers get the parsed event and do nothing.

Every server verifies Svix's signature. Those that store use native HMAC, as Bellhop does; the others use the library in
their name. Every commit waits for the disk: SQLite with \`synchronous=FULL\`, Postgres with \`fsync=on\`, Redis with
\`appendfsync always\`. Each server on Postgres has a Postgres of its own, with its default memory settings.

After the run, the bench stops the servers and reads their stores: each delivery that was answered with 200 must be stored
once and handled exactly once. Graphile Worker deletes a job that is done, so its process keeps a list of the handled ones.

Only Bellhop handles the events of a subject in their order. pg-boss stores a delivery again when it arrives twice. The
route with SQLite has no retries and no record of its runs.

${[notMeasured(missing), versions(results)].filter(Boolean).join("\n\n")}
`;
}

function descriptions(results: readonly Result[]): string {
  return results.map(({ contender: { name, does } }) => `- ${name}: ${does}.`).join("\n");
}

function notMeasured(missing: readonly Contender[]): string {
  const here = missing.map(({ name, missing }) => `${name}, because ${missing}`);
  return [
    "Inngest and Trigger.dev are not measured: the npm package `inngest-cli` downloads its server from another host, and",
    `Trigger.dev's server is a set of container images.${here.length > 0 ? ` Neither is ${here.join("; ")}.` : ""}`,
  ].join("\n");
}
