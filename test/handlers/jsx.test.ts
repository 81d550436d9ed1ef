// The user's settings decide how `.tsx` handlers are compiled, never those of the inspector's page.

import { expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { join, resolve } from "node:path";

import { readPage } from "../../src/inspector/bundle.ts";
import { post, serverWith, spawnServer, writeHandlers } from "../harness.ts";

const ROOT = resolve(import.meta.dir, "../..");
const event = { type: "user.created", object: "event", data: { id: "user_1", object: "user", first_name: "Ada" } };

/** A project inside the checkout, so that handlers find its packages. */
async function project() {
  const path = await mkdtemp(join(ROOT, "test", "jsx-"));
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true }) };
}

test("a .tsx handler renders React components, also from a shared folder", async () => {
  await using folder = await project();
  await using server = await serverWith(
    {
      "_emails/welcome.tsx": `
        import { Suspense, useId } from "react";
        const Button = ({ children }) => <a id={useId() && "go"}>{children}</a>;
        export const Welcome = ({ name }) => <><h1>Hello {name}</h1><Suspense><Button>Go</Button></Suspense></>;`,
      "user.created.tsx": `
        import { on } from "bellhop";
        import { renderToStaticMarkup } from "react-dom/server";
        import { Welcome } from "./_emails/welcome.tsx";
        export default on("user.created", ({ data, log }) => {
          log.info(renderToStaticMarkup(<Welcome name={data.first_name} />));
        });`,
    },
    {},
    folder.path,
  );
  await server.post(event, { id: "msg_1" });
  const log = [{ level: "info", message: '<h1>Hello Ada</h1><a id="go">Go</a>' }];
  expect((await server.ended("msg_1")).runs).toMatchObject([{ state: "done", attempts: [{ log }] }]);
});

// Bun reads the settings of the process's working directory.
test("a .tsx handler follows its own pragma, then its project's tsconfig.json", async () => {
  await using folder = await project();
  const settings = { compilerOptions: { jsx: "react-jsx", jsxImportSource: "preact" } };
  await Bun.write(join(folder.path, "tsconfig.json"), JSON.stringify(settings));
  const handler = `export default ({ log }) => { log.info("$$typeof" in <b /> ? "React" : "Preact"); };`;
  await writeHandlers(folder.path, {
    "user.created.tsx": handler,
    "user.created/pragma.tsx": `/** @jsxImportSource react */ ${handler}`,
  });
  await using server = await spawnServer(folder.path);
  await post(server.url, event, { id: "msg_1" });
  const attempts = (message: string) => [{ log: [{ level: "info", message }] }];
  expect((await server.ended("msg_1")).runs).toMatchObject([
    { state: "done", attempts: attempts("Preact") },
    { state: "done", attempts: attempts("React") },
  ]);
});

test("the inspector's page is still compiled for Preact", async () => {
  const { script } = await readPage();
  expect(script.text).not.toContain("react.transitional.element");
  expect(script.text).toContain("__k");
});
