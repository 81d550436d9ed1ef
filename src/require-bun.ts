// Imported first by main.ts, because an older Bun would fail on a missing feature without an explanation.
// Must use no new feature.

import { describeWrongRuntime } from "./bun-version.ts";

const message = describeWrongRuntime();
if (message) {
  console.error(message);
  process.exit(1);
}
