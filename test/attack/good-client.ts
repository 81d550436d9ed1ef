// A client that sends valid deliveries during an attack and measures the answers.

import { sample } from "../../src/clerk/samples.ts";
import { post } from "../harness.ts";

export interface Answer {
  status: number;
  ms: number;
}

/** Sends one delivery after the other. `stop` resolves with all answers. */
export function sendDeliveries(url: string, pauseMs: number): { stop(): Promise<Answer[]> } {
  const answers: Answer[] = [];
  let isStopped = false;
  const sending = (async () => {
    while (!isStopped) {
      const start = performance.now();
      const { status } = await post(url, sample("user.created"));
      answers.push({ status, ms: performance.now() - start });
      await Bun.sleep(pauseMs);
    }
  })();
  return {
    async stop() {
      isStopped = true;
      await sending;
      return answers;
    },
  };
}
