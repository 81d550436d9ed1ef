// Links in the folder of handlers, the folder as a link, and packages that come while it is followed.

import { expect, test } from "bun:test";
import { mkdir, rm, symlink } from "node:fs/promises";
import { join } from "node:path";

import { openHandlers } from "../../src/handlers/folder.ts";
import { temporaryFolder, until, writeHandlers } from "../harness.ts";
import { answers, living } from "./living.ts";

test("a link that leads nowhere or to itself is read once, and hinders nothing", async () => {
  await using it = await living({ "user.created.ts": answers(1) }, { follow: false });
  await symlink("nowhere", join(it.dir, ".#user.created.ts"));
  await symlink("nowhere", join(it.dir, "_lib.ts"));
  await symlink("user.deleted.ts", join(it.dir, "user.deleted.ts"));
  await symlink("..", join(it.dir, "_up"));
  await it.folder.look();
  const { table } = it.folder;
  expect(table.loaded).toEqual(new Set(["user.created"]));
  for (let look = 0; look < 3; look += 1) await it.folder.look();
  expect(it.folder.table).toBe(table);
  await it.write("user.created.ts", answers(2));
  await it.folder.look();
  expect(it.call("user.created")).toBe(2);
});

test("a folder with a link to itself can be opened", async () => {
  await using folder = await temporaryFolder();
  const dir = join(folder.path, "handlers");
  await writeHandlers(folder.path, { "user.created.ts": answers(1), "user.created/crm.ts": answers(2) });
  await symlink(dir, join(dir, "user.updated"));
  await symlink("loop", join(dir, "loop"));
  const handlers = await openHandlers(dir, () => undefined);
  expect([...handlers.table.loaded]).toEqual(["user.created", "user.created/crm"]);
  handlers.close();
});

test("links to files and to sub-folders may lead elsewhere, too", async () => {
  await using it = await living({ "user.updated.ts": answers(0) }, { follow: false });
  for (const version of ["v1", "v2"]) {
    await Bun.write(join(it.path, version, "_lib.ts"), `export const value = "${version}";`);
    await Bun.write(join(it.path, version, "crm.ts"), `import { value } from "./_lib.ts"; export default () => value;`);
  }
  for (const version of ["v1", "v2", "v1"]) {
    for (const link of ["user.created", "user.deleted.ts"]) await rm(join(it.dir, link), { force: true });
    await symlink(join("..", version), join(it.dir, "user.created"));
    await symlink(join("..", version, "crm.ts"), join(it.dir, "user.deleted.ts"));
    await it.folder.look();
    expect([it.answer("user.created/crm"), it.answer("user.deleted")]).toEqual([version, version]);
  }
  await Bun.write(join(it.path, "v1/_lib.ts"), `export const value = "saved";`);
  await it.folder.look();
  expect([it.answer("user.created/crm"), it.answer("user.deleted")]).toEqual(["saved", "saved"]);
});

test("a folder with links in circles is followed", async () => {
  await using it = await living({ "user.created.ts": answers(1), "user.created/crm.ts": answers(1) });
  await symlink("..", join(it.dir, "user.created/up"));
  await symlink("loop", join(it.dir, "loop"));
  await symlink("nowhere", join(it.dir, "_lib.ts"));
  await Bun.sleep(200);
  await it.write("user.created.ts", answers(2));
  await until("the save to be live", () => it.answer("user.created") === 2, 6_000);
  await it.write("user.created/crm.ts", answers(3));
  await until("the save to be live", () => it.answer("user.created/crm") === 3, 6_000);
  const { length } = it.told;
  await Bun.sleep(2_500);
  expect(it.told).toHaveLength(length);
}, 20_000);

test("a link to a folder is a folder", async () => {
  await using folder = await temporaryFolder();
  await writeHandlers(folder.path, { "_shared/crm.ts": answers("linked") });
  const dir = join(folder.path, "handlers");
  await symlink(join(dir, "_shared"), join(dir, "user.created"));
  const handlers = await openHandlers(dir, () => undefined);
  expect([...handlers.table.loaded]).toEqual(["user.created/crm"]);
  handlers.close();
});

test("a handlers link that leads to another folder runs that one's code", async () => {
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
  ["the first package of the project", "newpkg", []],
  ["beside another one", "newpkg", ["other"]],
  ["of a scope that is new", "@scope/newpkg", ["other"]],
  ["of a scope that is known", "@scope/newpkg", ["@scope/other"]],
])("a package that is installed while the folder is followed is found: %s", async (_, name, others) => {
  await using it = await living({ "user.updated.ts": answers(1) }, { follow: false });
  const packages = join(it.path, "node_modules");
  for (const other of others) await Bun.write(join(packages, other, "index.js"), "");
  await it.write("user.created.ts", `import value from "${name}"; export default () => value;`);
  await it.folder.look();
  expect(it.answer("user.created")).toContain(`Cannot find package '${name}'`);
  const { table } = it.folder;
  await it.folder.look();
  expect(it.folder.table).toBe(table);
  await Bun.write(
    join(packages, name, "package.json"),
    JSON.stringify({ name, version: "1.0.0", main: "lib/main.js" }),
  );
  await it.folder.look();
  await mkdir(join(packages, name, "lib"));
  await Bun.write(join(packages, name, "lib/main.js"), `module.exports = "found";`);
  await it.folder.look();
  expect(it.answer("user.created")).toBe("found");
});

test("a package is found without a look by hand", async () => {
  await using it = await living({ "user.created.ts": `import value from "newpkg"; export default () => value;` });
  await Bun.write(join(it.path, "node_modules/newpkg/index.js"), `module.exports = "found";`);
  await until("the package to be found", () => it.answer("user.created") === "found", 6_000);
}, 10_000);
