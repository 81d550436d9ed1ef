// Changes that handlers make to the process that they share with the server.

import { expect, test } from "bun:test";

import { until } from "../harness.ts";
import { liveFolder } from "./living.ts";

test("listeners of a handler on process can be removed, and are removed with its version", async () => {
  const count = () => process.listenerCount("SIGUSR2");
  const before = count();
  await using handlers = await liveFolder(
    {
      "user.created.ts": `
        const calls = [];
        const listener = () => calls.push("on");
        process.on("SIGUSR2", listener);
        process.once("SIGUSR2", () => calls.push("once"));
        export default ({ remove }) => { if (remove) process.off("SIGUSR2", listener); return calls; };`,
    },
    { follow: false },
  );
  expect(count()).toBe(before + 2);
  process.emit("SIGUSR2");
  process.emit("SIGUSR2");
  expect(handlers.call("user.created")).toEqual(["on", "once", "on"]);
  handlers.call("user.created", { remove: true });
  process.emit("SIGUSR2");
  expect(handlers.call("user.created")).toEqual(["on", "once", "on"]);
  await handlers.write(
    "user.created.ts",
    `process.on("SIGUSR2", () => { throw new Error("no"); }); export default () => 2;`,
  );
  await handlers.folder.look();
  expect(count()).toBe(before + 1);
  process.emit("SIGUSR2");
  await until("the error", () => handlers.late.length > 0);
  expect(handlers.late.map(({ error }) => String(error))).toEqual(["Error: no"]);
  await handlers.write("user.created.ts", "export default () => 3;");
  await handlers.folder.look();
  expect(count()).toBe(before);
});
