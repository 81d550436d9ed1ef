// Erases what is stored about a user, in the background, and returns the progress and the receipt.

import { Elysia, t } from "elysia";

import type { ApiOptions } from "../app.ts";

const erasureQuery = t.Object({ user: t.String({ minLength: 1, maxLength: 200 }) });
const startQuery = t.Composite([erasureQuery, t.Object({ now: t.Optional(t.BooleanString()) })]);

export function erasureRoutes({ erasures, onError }: ApiOptions) {
  return new Elysia()
    .get(
      "/erasures",
      async ({ query: { user } }) => (await erasures?.find(user)) ?? { erasure: null, isUnderWay: false },
      { query: erasureQuery },
    )
    .post(
      "/erasures",
      async ({ query: { user, now = false }, status }) => {
        if (!erasures) return status(409, { error: "no_erasures" });
        const { requested, finished } = erasures.erase(user, { givesUp: now });
        finished.catch((error: unknown) => onError?.(error));
        await requested;
        return erasures.find(user);
      },
      { query: startQuery },
    );
}
