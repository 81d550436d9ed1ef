// A real Chromium for the page's tests: Debian's `chromium`, or whatever Chrome the developer has.

import { existsSync } from "node:fs";

import { type Browser, chromium, type Page } from "playwright-core";

import { type Files, serverWith, type TestServer } from "../harness.ts";

const NAMES = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome"];
const PLACES = [
  "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
  "/Applications/Chromium.app/Contents/MacOS/Chromium",
];

const path = NAMES.map((name) => Bun.which(name)).find(Boolean) ?? PLACES.find((place) => existsSync(place));

/** Why there can be no browser here, or undefined. In CI that is a failure, unless it could not be installed there either. */
export const noBrowser = path ? undefined : "there is no Chromium or Chrome here; on Debian: apt-get install chromium";
if (noBrowser && Bun.env["CI"] && !Bun.env["NO_BROWSER"]) throw new Error(noBrowser);
if (noBrowser) console.log(`skipped: ${noBrowser}`);

let started: Promise<Browser> | undefined;

/** One for all tests of a file. */
export function browser(): Promise<Browser> {
  return (started ??= chromium.launch({ executablePath: path!, args: ["--no-sandbox", "--disable-dev-shm-usage"] }));
}

export async function closeBrowser(): Promise<void> {
  await (await started)?.close();
  started = undefined;
}

export const WIDTHS = [1_280, 380] as const;

export interface Scene extends AsyncDisposable {
  server: TestServer;
  page: Page;
  url: string;
  /** Another page of the same browser, as somebody else opens it. */
  other: (url: string) => Promise<Page>;
  /** Errors that the test has caused itself. */
  forgive: (errors: RegExp) => void;
}

interface SceneOptions {
  width?: number;
  scheme?: "light" | "dark";
  env?: Record<string, string>;
  /** Where to begin, after the inspector's address. */
  at?: string;
}

/** A server in dev, and its page. Whatever the page does against its own rules fails the test. */
export async function open(files: Files, options: SceneOptions = {}): Promise<Scene> {
  const { width = 1_280, scheme = "light", env = {}, at = "/" } = options;
  await using stack = new AsyncDisposableStack();
  const server = stack.use(await serverWith(files, env, undefined, "dev"));
  const context = await (await browser()).newContext({ viewport: { width, height: 800 }, colorScheme: scheme });
  stack.defer(() => context.close());
  const wrong: string[] = [];
  const other = async (url: string) => {
    const page = await context.newPage();
    page.setDefaultTimeout(8_000);
    page.on("dialog", (dialog) => {
      wrong.push(`a dialog: ${dialog.message()}`);
      void dialog.dismiss();
    });
    page.on("pageerror", (error) => wrong.push(`an error: ${error.message}`));
    page.on("console", (message) => {
      // What is refused with 401 or 404 the browser tells by itself.
      if (message.type() === "error" && !/status of (?:401|404|429)/.test(message.text())) wrong.push(message.text());
    });
    await page.goto(url);
    return page;
  };
  const url = server.inspectorUrl!;
  // Signs in by the address that `bun dev` prints; the page replaces it.
  const page = await other(server.inspectorLink!);
  if (env["INSPECTOR_TOKEN"] === undefined) await page.locator(".connection.live").waitFor();
  if (at !== "/") await page.goto(`${url}${at}`);
  const held = stack.move();
  return {
    server,
    page,
    url,
    other,
    forgive: (errors) => wrong.splice(0, wrong.length, ...wrong.filter((each) => !errors.test(each))),
    async [Symbol.asyncDispose]() {
      await held.disposeAsync();
      if (wrong.length > 0) throw new Error(`the page did what it must not:\n${wrong.join("\n")}`);
    },
  };
}
