// Erases the text of problems that only an erased user had. A message without ids and numbers may still have a name in it;
// one that others have as well does not identify the user.

import { selectBy, type Transaction, updateBy } from "./store.ts";

const OF_RUNS = selectBy("run r", "r.id", { run: "int" }, "r.problem as id", { where: "r.problem is not null" });
const NEWEST_IN = selectBy("delivery d join problem p on p.newest = d.id", "d.seq", { seq: "int" }, "p.id");

/** The payload of a run of someone else is stored. */
const ERASE_MESSAGE = updateBy(
  "problem.id",
  { id: "text" },
  "message = 'erased'",
  `(select 1 from run r join payload y on y.seq = r.seq where r.problem = problem.id limit 1) is null`,
);

/** Call it after the payloads were erased. */
export async function eraseProblems(
  transaction: Transaction,
  { deliveries, runs }: { deliveries: readonly { seq: number }[]; runs: readonly { run: number }[] },
): Promise<void> {
  const found = [
    ...(await transaction.all<{ id: string }>(OF_RUNS, runs)),
    ...(await transaction.all<{ id: string }>(NEWEST_IN, deliveries)),
  ];
  const ids = [...new Set(found.map(({ id }) => id))].toSorted();
  await transaction.run(
    ERASE_MESSAGE,
    ids.map((id) => ({ id })),
  );
}
