// "bellhop/elysia": Bellhop as a plugin, with no hook that reaches the application's routes.

import { Elysia } from "elysia";

import type { BellhopOptions } from "./bellhop-options.ts";
import { createBellhop } from "./create-bellhop.ts";

/**
 * Answers deliveries at `webhookPath`, and stops with the application.
 *
 *     const app = new Elysia().use(await bellhop()).listen(3000);
 */
export async function bellhop(options: BellhopOptions = {}): Promise<Elysia> {
  const opened = await createBellhop(options);
  return (
    new Elysia({ name: "bellhop", seed: options })
      // Leaves the bytes unread, because they are what is signed. With `parse: "none"`, Elysia 1.4.30 answers PARSE in an
      // application that has an `onParse` hook.
      .all(opened.webhookPath, ({ request }) => opened.fetch(request), { parse: () => true })
      .onStop(() => opened.stop())
  );
}
