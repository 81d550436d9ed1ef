// Texts to copy from a delivery: commands, and a test for its handler. `command` is `bun` or `bunx bellhop`. Pure.

export function replayCommand(command: string, id: string, handler?: string): string {
  return `${command} replay ${id}${handler === undefined ? "" : ` --handler ${handler}`}`;
}

export function tryCommand(command: string, id: string, handler?: string): string {
  return `${command} try ${id}${handler === undefined ? "" : ` ${handler}`}`;
}

/** A test that delivers the same event with `bellhop/test`. */
export function testOf(type: string, payload: string, handlers: readonly string[]): string {
  const { data } = JSON.parse(payload) as { data?: unknown };
  const shown = JSON.stringify(data, null, 2).replaceAll("\n", "\n    ");
  const expectations = handlers.map(
    (handler) => `  expect(runs[${JSON.stringify(handler)}]).toMatchObject({ state: "done" });`,
  );
  return `import { expect, test } from "bun:test";

import { deliver } from "bellhop/test";

test("handles this ${type}", async () => {
  const { runs } = await deliver({ type: ${JSON.stringify(type)}, data: ${shown} });
${expectations.join("\n")}
});
`;
}
