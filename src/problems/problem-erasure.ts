// Erases the text of problems that only an erased user had. A message without ids and numbers may still have a name in it;
// one that others have as well does not identify the user.

import { selectBy, type Transaction, updateBy } from "../store/store.ts";

// `coalesce` avoids the index of all runs with a problem.
const OF_RUNS = selectBy("run r", "r.id", { run: "int" }, "r.problem as id", {
  where: "coalesce(r.problem, '') <> ''",
});
const IDS = selectBy("delivery d", "d.seq", { seq: "int" }, "d.id as newest");
const NEWEST_IN = selectBy("problem p", "p.newest", { newest: "text" }, "p.id");

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
  // A run that has failed with several problems has only the latest one.
  const newest = await transaction.all<{ newest: string }>(IDS, deliveries);
  const found = [
    ...(await transaction.all<{ id: string }>(OF_RUNS, runs)),
    ...(await transaction.all<{ id: string }>(NEWEST_IN, newest)),
  ];
  const ids = [...new Set(found.map(({ id }) => id))].toSorted();
  await transaction.run(
    ERASE_MESSAGE,
    ids.map((id) => ({ id })),
  );
}
