// What handlers do to the process that they share with the server.

import { expect, test } from "bun:test";

import { living } from "./living.ts";

test("what a handler's code listens for on process goes with its version, and can be removed", async () => {
  const count = () => process.listenerCount("SIGUSR2");
  const before = count();
  await using it = await living(
    {
      "user.created.ts": `
        const heard = [];
        const listener = () => heard.push("heard");
        process.on("SIGUSR2", listener);
        process.once("SIGUSR2", () => heard.push("once"));
        export default ({ remove }) => { if (remove) process.off("SIGUSR2", listener); return heard; };`,
    },
    { follow: false },
  );
  expect(count()).toBe(before + 2);
  process.emit("SIGUSR2");
  process.emit("SIGUSR2");
  expect(it.call("user.created")).toEqual(["heard", "once", "heard"]);
  it.call("user.created", { remove: true });
  process.emit("SIGUSR2");
  expect(it.call("user.created")).toEqual(["heard", "once", "heard"]);
  await it.write("user.created.ts", `process.on("SIGUSR2", () => { throw new Error("no"); }); export default () => 2;`);
  await it.folder.look();
  expect(count()).toBe(before + 1);
  process.emit("SIGUSR2");
  await Bun.sleep(5);
  expect(it.late.map(({ error }) => String(error))).toEqual(["Error: no"]);
  await it.write("user.created.ts", "export default () => 3;");
  await it.folder.look();
  expect(count()).toBe(before);
});
