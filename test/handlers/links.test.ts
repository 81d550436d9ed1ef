// Symbolic links in the handlers folder or to it, and packages that are installed while the folder is watched.

import { expect, test } from "bun:test";
import { mkdir, rm, symlink } from "node:fs/promises";
import { join } from "node:path";

import { openHandlers } from "../../src/handlers/folder.ts";
import { temporaryFolder, until, writeHandlers } from "../harness.ts";
import { liveFolder, returning } from "./living.ts";

test("reads a broken or circular link once, and loads the other files", async () => {
  await using handlers = await liveFolder({ "user.created.ts": returning(1) }, { follow: false });
  await symlink("nowhere", join(handlers.dir, ".#user.created.ts"));
  await symlink("nowhere", join(handlers.dir, "_lib.ts"));
  await symlink("user.deleted.ts", join(handlers.dir, "user.deleted.ts"));
  await symlink("..", join(handlers.dir, "_up"));
  await handlers.folder.look();
  const { table } = handlers.folder;
  expect(table.loaded).toEqual(new Set(["user.created"]));
  for (let look = 0; look < 3; look += 1) await handlers.folder.look();
  expect(handlers.folder.table).toBe(table);
  await handlers.write("user.created.ts", returning(2));
  await handlers.folder.look();
  expect(handlers.call("user.created")).toBe(2);
});

test("opens a folder that contains a link to itself", async () => {
  await using folder = await temporaryFolder();
  const dir = join(folder.path, "handlers");
  await writeHandlers(folder.path, { "user.created.ts": returning(1), "user.created/crm.ts": returning(2) });
  await symlink(dir, join(dir, "user.updated"));
  await symlink("loop", join(dir, "loop"));
  const handlers = await openHandlers(dir, () => undefined);
  expect([...handlers.table.loaded]).toEqual(["user.created", "user.created/crm"]);
  handlers.close();
});

test("follows links to files and folders elsewhere, also when they change", async () => {
  await using handlers = await liveFolder({ "user.updated.ts": returning(0) }, { follow: false });
  for (const version of ["v1", "v2"]) {
    await Bun.write(join(handlers.path, version, "_lib.ts"), `export const value = "${version}";`);
    await Bun.write(
      join(handlers.path, version, "crm.ts"),
      `import { value } from "./_lib.ts"; export default () => value;`,
    );
  }
  for (const version of ["v1", "v2", "v1"]) {
    for (const link of ["user.created", "user.deleted.ts"]) await rm(join(handlers.dir, link), { force: true });
    await symlink(join("..", version), join(handlers.dir, "user.created"));
    await symlink(join("..", version, "crm.ts"), join(handlers.dir, "user.deleted.ts"));
    await handlers.folder.look();
    expect([handlers.result("user.created/crm"), handlers.result("user.deleted")]).toEqual([version, version]);
  }
  await Bun.write(join(handlers.path, "v1/_lib.ts"), `export const value = "saved";`);
  await handlers.folder.look();
  expect([handlers.result("user.created/crm"), handlers.result("user.deleted")]).toEqual(["saved", "saved"]);
});

test("watches a folder with circular links", async () => {
  await using handlers = await liveFolder({ "user.created.ts": returning(1), "user.created/crm.ts": returning(1) });
  await symlink("..", join(handlers.dir, "user.created/up"));
  await symlink("loop", join(handlers.dir, "loop"));
  await symlink("nowhere", join(handlers.dir, "_lib.ts"));
  await Bun.sleep(200);
  await handlers.write("user.created.ts", returning(2));
  await until("the save to be live", () => handlers.result("user.created") === 2);
  await handlers.write("user.created/crm.ts", returning(3));
  await until("the save to be live", () => handlers.result("user.created/crm") === 3);
  // A save is live before it is reported. The watcher polls every two seconds, and must find nothing new.
  await until("the saves to be reported, and nothing else", async () => {
    const { length } = handlers.reported;
    await Bun.sleep(2_500);
    const saves = ["live user.created.ts", "live user.created/crm.ts"];
    return saves.every((save) => handlers.reported.includes(save)) && handlers.reported.length === length;
  });
}, 40_000);

test("a link to a folder counts as a folder", async () => {
  await using folder = await temporaryFolder();
  await writeHandlers(folder.path, { "_shared/crm.ts": returning("linked") });
  const dir = join(folder.path, "handlers");
  await symlink(join(dir, "_shared"), join(dir, "user.created"));
  const handlers = await openHandlers(dir, () => undefined);
  expect([...handlers.table.loaded]).toEqual(["user.created/crm"]);
  handlers.close();
});

test("runs the code of the folder that the handlers link points to", async () => {
  await using folder = await temporaryFolder();
  for (const version of ["v1", "v2", "v3"])
    await Bun.write(
      join(folder.path, version, "user.created.ts"),
      `import { value } from "./_lib.ts"; export default () => value + "${version}";`,
    );
  for (const version of ["v1", "v2", "v3"])
    await Bun.write(join(folder.path, version, "_lib.ts"), `export const value = "lib ${version} ";`);
  const dir = join(folder.path, "handlers");
  await symlink("v1", dir);
  const handlers = await openHandlers(dir, () => undefined);
  const call = () => (handlers.table.get("user.created")?.code?.run as (() => unknown) | undefined)?.();
  expect(call()).toBe("lib v1 v1");
  for (const version of ["v2", "v3", "v1"]) {
    await rm(dir);
    await symlink(version, dir);
    await handlers.look();
    expect(call()).toBe(`lib ${version} ${version}`);
  }
  await Bun.write(join(folder.path, "v1", "_lib.ts"), `export const value = "saved ";`);
  await handlers.look();
  expect(call()).toBe("saved v1");
  handlers.close();
});

test.each([
  ["first package of the project", "newpkg", []],
  ["next to another package", "newpkg", ["other"]],
  ["in a new scope", "@scope/newpkg", ["other"]],
  ["in an existing scope", "@scope/newpkg", ["@scope/other"]],
])("finds a package that is installed while the folder is watched: %s", async (_, name, others) => {
  await using handlers = await liveFolder({ "user.updated.ts": returning(1) }, { follow: false });
  const packages = join(handlers.path, "node_modules");
  for (const other of others) await Bun.write(join(packages, other, "index.js"), "");
  await handlers.write("user.created.ts", `import value from "${name}"; export default () => value;`);
  await handlers.folder.look();
  expect(handlers.result("user.created")).toContain(`Cannot find package '${name}'`);
  const { table } = handlers.folder;
  await handlers.folder.look();
  expect(handlers.folder.table).toBe(table);
  await Bun.write(
    join(packages, name, "package.json"),
    JSON.stringify({ name, version: "1.0.0", main: "lib/main.js" }),
  );
  await handlers.folder.look();
  await mkdir(join(packages, name, "lib"));
  await Bun.write(join(packages, name, "lib/main.js"), `module.exports = "found";`);
  await handlers.folder.look();
  expect(handlers.result("user.created")).toBe("found");
});

test("finds an installed package by itself", async () => {
  await using handlers = await liveFolder({
    "user.created.ts": `import value from "newpkg"; export default () => value;`,
  });
  await Bun.write(join(handlers.path, "node_modules/newpkg/index.js"), `module.exports = "found";`);
  await until("the package to be found", () => handlers.result("user.created") === "found");
}, 15_000);
