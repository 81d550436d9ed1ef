// The contract of an inbox, as tests of a function that opens one. They use only the interface, and do not depend on the
// speed of the store.

import type { OpenInbox } from "./box.ts";
import { acceptContract } from "./contract.accept.ts";
import { backlogContract } from "./contract.backlog.ts";
import { bulkContract } from "./contract.bulk.ts";
import { claimContract } from "./contract.claim.ts";
import { clocksContract } from "./contract.clocks.ts";
import { erasureContract } from "./contract.erasure.ts";
import { finishContract } from "./contract.finish.ts";
import { interventionContract } from "./contract.intervention.ts";
import { listContract } from "./contract.list.ts";
import { orderContract } from "./contract.order.ts";
import { parkedContract } from "./contract.parked.ts";
import { pauseContract } from "./contract.pause.ts";
import { problemsContract } from "./contract.problems.ts";
import { recoveryContract } from "./contract.recovery.ts";
import { replayContract } from "./contract.replay.ts";
import { retentionContract } from "./contract.retention.ts";
import { sensitiveContract } from "./contract.sensitive.ts";
import { startsContract } from "./contract.starts.ts";
import { unseenContract } from "./contract.unseen.ts";

const CONTRACTS = [
  acceptContract,
  claimContract,
  startsContract,
  orderContract,
  finishContract,
  recoveryContract,
  parkedContract,
  pauseContract,
  erasureContract,
  sensitiveContract,
  interventionContract,
  replayContract,
  unseenContract,
  bulkContract,
  listContract,
  retentionContract,
  problemsContract,
  clocksContract,
  backlogContract,
];

/** Runs the whole suite against one store. */
export function inboxContract(name: string, open: OpenInbox): void {
  for (const contract of CONTRACTS) contract(name, open);
}
