// `bun erase user_…` erases what Bellhop stores about a user, and reports what was erased and what is stored elsewhere.

import { defineCommand } from "citty";

import type { ErasureJson } from "../api/types.ts";
import { COMMAND } from "../command.ts";
import { processEnvironment } from "../config.ts";
import { count } from "../count.ts";
import { UserError } from "../errors.ts";
import type { Client } from "./api-client.ts";
import { connectOrOpen } from "./connect.ts";
import { createProgress } from "./progress.ts";
import { configOrUserError } from "./serve.ts";

const POLL_MS = 100;

export const eraseUser = defineCommand({
  meta: {
    name: `${COMMAND} erase`,
    description: "Erase what is stored about a user: payloads, headers, logs and errors",
  },
  args: {
    user: { type: "positional", description: "The user: user_…", required: true },
    now: { type: "boolean", description: "Give up unfinished runs about the user, instead of waiting for them" },
    yes: { type: "boolean", description: "Do not ask for confirmation" },
    json: { type: "boolean", description: "Print JSON" },
  },
  async run({ args: { user, now = false, yes = false, json = false } }) {
    if (!/^user_\w+$/.test(user)) throw new UserError(`${user} is not the id of a user: ${COMMAND} erase user_…`);
    if (!yes && !isConfirmed(user)) return;
    await using client = await connectOrOpen(configOrUserError(processEnvironment(), "dev"));
    const erasure = await waitForErasure(client, user, await client.erase(user, now));
    console.log(json ? JSON.stringify(erasure, null, 2) : describeErasure(erasure));
    // Something is left, which the server erases later.
    if (erasure.finishedAt === null) process.exitCode = 1;
  },
});

function isConfirmed(user: string): boolean {
  if (!process.stdin.isTTY)
    throw new UserError("This is not a terminal, so no one can confirm: add --yes to erase without a question");
  return confirm(`Erase everything that is stored about ${user}? It can't be undone.`);
}

async function waitForErasure(client: Client, user: string, first: ErasureJson) {
  const bar = createProgress(100);
  try {
    for (let answer = first; ; answer = await client.erasure(user)) {
      const { erasure, isUnderWay } = answer;
      if (!erasure) throw new UserError("This server is of an older version, which can't erase: update it");
      if (!isUnderWay && erasure.finishedAt === null && erasure.held === 0)
        throw new UserError(
          `The erasure of ${user} has stopped with an error, which is in the log. A running server continues it within a ` +
            "minute; or run the command again",
        );
      if (!isUnderWay) return erasure;
      bar.show(Math.floor(erasure.searched * 100));
      await Bun.sleep(POLL_MS);
    }
  } finally {
    bar.end();
  }
}

export function describeErasure(erasure: NonNullable<ErasureJson["erasure"]>): string {
  const { user, deliveries, held, elsewhere, finishedAt } = erasure;
  const what = count(deliveries, "delivery", "deliveries");
  const rows = Object.entries(elsewhere).map(([table, rows]) => `    ${table}: ${count(rows, "row")}, ids kept`);
  const lines = [
    `${finishedAt === null ? "Not finished" : "Erased"}: ${user}`,
    `    ${what}: payload, headers, logs and errors; ids kept`,
    ...rows,
  ];
  if (held > 0)
    lines.push(
      "",
      `${count(held, "delivery has", "deliveries have")} unfinished runs, and will be erased when they have ended, by a running`,
      `server. To give these runs up: ${COMMAND} erase ${user} --now`,
    );
  return [...lines, "", ...ELSEWHERE].join("\n");
}

const ELSEWHERE = [
  "Not erased, because Bellhop does not control it:",
  "    your own tables, and columns that you added to the mirror's tables",
  "    backups: restored ones contain the data again, so erase again after a restore",
  "    Clerk itself, and Svix, which keeps messages for 90 days",
  "    the output of your log, where handlers may have logged about the user",
  "    Postgres: old versions of rows until autovacuum has run, and its archived log",
];
