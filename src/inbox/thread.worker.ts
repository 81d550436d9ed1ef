// The inbox's thread.

import { join } from "node:path";

import { createCheckpointer } from "./checkpoint.ts";
import { answerInbox } from "./remote.ts";
import { FILE, openSqliteInbox } from "./sqlite.ts";
import type { ThreadOpening } from "./thread.ts";

declare const self: Worker;

answerInbox(self, ({ dataDir }: ThreadOpening, { onTrouble }) =>
  openSqliteInbox(dataDir, { onTrouble, checkpointer: createCheckpointer(join(dataDir, FILE)) }),
);
