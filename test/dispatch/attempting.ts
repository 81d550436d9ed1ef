// Runs one attempt of a function, without a dispatcher.

import { join } from "node:path";

import { openEffects } from "../../src/db/effects.ts";
import { runAttempt } from "../../src/dispatch/attempt.ts";
import { createTimeouts } from "../../src/dispatch/timeout.ts";
import type { Misfit } from "../../src/handlers/exports.ts";
import type { ClaimedRun, LogLine, Outcome } from "../../src/inbox/inbox.ts";
import type { HandlerFunction, HandlerOptions } from "../../src/index.ts";
import { at } from "../inbox/box.ts";
import { temporaryFolder } from "../temporary-folder.ts";
import { tableOf } from "./dispatching.ts";

export const NOW = Date.UTC(2026, 5, 1);

/** A claimed run of `user.created`, as the inbox returns it. */
export function claimedRun(more: Partial<ClaimedRun> = {}): ClaimedRun {
  const event = { type: "user.created", object: "event", data: { id: "user_1" }, timestamp: at(0) / 1_000 };
  return {
    run: 1,
    attempt: 1,
    owner: "test",
    handler: "user.created",
    orderKey: "user:subject user_1",
    spent: 0,
    interrupted: 0,
    exclusive: false,
    replay: "",
    stale: false,
    delivery: {
      id: "msg_1",
      arrival: 1,
      type: "user.created",
      subject: "user_1",
      receivedAt: at(1),
      receipts: 2,
      sample: false,
      at: at(0),
      sensitive: false,
    },
    body: new TextEncoder().encode(JSON.stringify(event)),
    ...more,
  };
}

interface AttemptSetup {
  options?: HandlerOptions;
  claimed?: Partial<ClaimedRun>;
  shutdown?: AbortSignal;
  /** The directory of `app.db`, a temporary one by default. */
  folder?: string;
  print?: (line: LogLine) => void;
  misfit?: Misfit;
  onLate?: (message: string) => void;
}

export async function attempt(handle: HandlerFunction, setup: AttemptSetup = {}): Promise<Outcome> {
  const { options = {}, claimed, shutdown = new AbortController().signal, misfit } = setup;
  const { print = () => undefined, onLate = () => undefined } = setup;
  const handler = tableOf({ "user.created": [options, handle] }).get("user.created")!;
  const timeouts = createTimeouts(shutdown);
  await using temporary = await temporaryFolder();
  const filename = join(setup.folder ?? temporary.path, "app.db");
  await using effects = await openEffects({ kind: "sqlite", filename });
  const outcome = await runAttempt({
    run: claimedRun(claimed),
    handler,
    code: { ...handler.code!, ...(misfit && { misfit }) },
    clerk: undefined,
    effects,
    timeouts,
    watchdog: { enter: (_, call) => call(), running: () => () => undefined, stop: () => undefined },
    shutdown,
    now: () => NOW,
    print,
    onLate,
  });
  if (!outcome) throw new Error("the outcome is unknown");
  return outcome;
}
