import { expect, test } from "bun:test";
import { readFileSync, statSync } from "node:fs";
import { join } from "node:path";

import { createSessions, type SessionOptions } from "../../src/inspector/session.ts";
import { temporaryFolder } from "../temporary-folder.ts";

const TOKEN = "an-inspector-token-of-32-letters";
const HOUR_MS = 3_600_000;

function sessionsWith(token = TOKEN, more: Partial<SessionOptions> = {}) {
  const clock = { now: 1_700_000_000_000, slept: [] as number[] };
  const sleep = async (milliseconds: number) => void clock.slept.push(milliseconds);
  const now = () => clock.now;
  return { clock, sessions: createSessions({ token, cookie: "bellhop_inspector_3001", now, sleep, ...more }) };
}

async function cookieOf({ sessions }: ReturnType<typeof sessionsWith>): Promise<string> {
  const signedIn = await sessions.signIn(TOKEN);
  if (signedIn.kind !== "right") throw new Error(signedIn.kind);
  return `bellhop_inspector_3001=${signedIn.value}`;
}

test("the right token gives a cookie that is valid for twelve hours and does not contain the token", async () => {
  const created = sessionsWith();
  const cookie = await cookieOf(created);
  expect(cookie).not.toContain(TOKEN);
  expect(created.sessions.knows(cookie)).toBe(true);
  expect(created.sessions.knows(`theme=dark; ${cookie}; other=1`)).toBe(true);
  created.clock.now += 12 * HOUR_MS - 1;
  expect(created.sessions.knows(cookie)).toBe(true);
  created.clock.now += 1;
  expect(created.sessions.knows(cookie)).toBe(false);
  expect(created.clock.slept).toEqual([]);
});

test("an invalid or altered cookie is rejected", async () => {
  const created = sessionsWith();
  const cookie = await cookieOf(created);
  const [, until = "", nonce = "", signature = ""] = /=(\d+)\.(.+)\.(.+)$/.exec(cookie) ?? [];
  for (const value of [
    "",
    "..",
    TOKEN,
    `${until}.${nonce}`,
    `${until}.${nonce}.`,
    `${Number(until) + 1}.${nonce}.${signature}`,
    `9${until}.${nonce}.${signature}`,
    `${until}.${"A".repeat(22)}.${signature}`,
    `${until}.${nonce}.${"A".repeat(43)}`,
    `${until}.${nonce}.${signature}x`,
    `${until}.${nonce}.${signature.toLowerCase()}`,
  ])
    expect(created.sessions.knows(`bellhop_inspector_3001=${value}`), value).toBe(false);
  expect(created.sessions.knows(null)).toBe(false);
  expect(created.sessions.knows(cookie.replace("3001", "3002"))).toBe(false);
});

test("sessions survive a restart with the same token, and end with another one", async () => {
  const cookie = await cookieOf(sessionsWith());
  expect(sessionsWith().sessions.knows(cookie)).toBe(true);
  expect(sessionsWith(`${TOKEN}2`).sessions.knows(cookie)).toBe(false);
});

test("a sign-out invalidates that cookie and no other", async () => {
  const created = sessionsWith();
  const [first, second] = [await cookieOf(created), await cookieOf(created)];
  created.sessions.signOut(first);
  created.sessions.signOut(first);
  created.sessions.signOut("bellhop_inspector_3001=nonsense");
  created.sessions.signOut(null);
  expect([first, second].map((cookie) => created.sessions.knows(cookie))).toEqual([false, true]);
});

test("a sign-out survives a restart, and its file does not contain a valid cookie", async () => {
  await using folder = await temporaryFolder();
  const signedOutFile = join(folder.path, "signed-out.json");
  const created = sessionsWith(TOKEN, { signedOutFile });
  const [first, second] = [await cookieOf(created), await cookieOf(created)];
  created.sessions.signOut(first);
  const restarted = sessionsWith(TOKEN, { signedOutFile }).sessions;
  expect([first, second].map((cookie) => restarted.knows(cookie))).toEqual([false, true]);
  expect(readFileSync(signedOutFile, "utf8")).not.toContain(first.split(".").at(-1)!);
  expect(statSync(signedOutFile).mode & 0o777).toBe(0o600);

  // A sign-out is forgotten when its cookie would have expired.
  created.clock.now += 12 * HOUR_MS;
  created.sessions.signOut(await cookieOf(created));
  expect(Object.keys(JSON.parse(readFileSync(signedOutFile, "utf8")))).toHaveLength(1);
});

test("a sign-out that can't be written is reported, and holds until a restart", async () => {
  await using folder = await temporaryFolder();
  const errors: unknown[] = [];
  const options = {
    signedOutFile: join(folder.path, "nowhere/signed-out.json"),
    onError: (error: unknown) => errors.push(error),
  };
  const created = sessionsWith(TOKEN, options);
  const cookie = await cookieOf(created);
  created.sessions.signOut(cookie);
  expect(created.sessions.knows(cookie)).toBe(false);
  expect(errors).toMatchObject([{ code: "ENOENT" }]);
});

test("a damaged file of sign-outs is replaced", async () => {
  await using folder = await temporaryFolder();
  const signedOutFile = join(folder.path, "signed-out.json");
  for (const text of ["", "{", "null", "[]", '"x"', '{"a":"b"}']) {
    await Bun.write(signedOutFile, text);
    const created = sessionsWith(TOKEN, { signedOutFile });
    const cookie = await cookieOf(created);
    expect(created.sessions.knows(cookie)).toBe(true);
    created.sessions.signOut(cookie);
    expect(sessionsWith(TOKEN, { signedOutFile }).sessions.knows(cookie)).toBe(false);
  }
});

test("wrong tokens are delayed longer each time and refused after ten in a minute; the right token always works", async () => {
  const { clock, sessions } = sessionsWith();
  for (let n = 0; n < 10; n += 1) expect(await sessions.signIn(`wrong ${n}`)).toEqual({ kind: "wrong" });
  expect(clock.slept).toEqual([250, 500, 1_000, 2_000, ...Array.from({ length: 6 }, () => 4_000)]);
  clock.now += 20_000;
  expect(await sessions.signIn("wrong")).toEqual({ kind: "too_many", retryAfterMs: 40_000 });
  expect(await sessions.signIn(TOKEN)).toMatchObject({ kind: "right" });
  clock.now += 40_000;
  expect(await sessions.signIn("wrong")).toEqual({ kind: "wrong" });
});

test("of a thousand simultaneous wrong tokens only ten are checked", async () => {
  const { clock, sessions } = sessionsWith();
  const answers = await Promise.all(Array.from({ length: 1_000 }, (_, n) => sessions.signIn(`wrong ${n}`)));
  expect(answers.filter(({ kind }) => kind === "wrong")).toHaveLength(10);
  expect(clock.slept).toHaveLength(10);
});

test("a token that is almost right is wrong", async () => {
  for (const token of ["", TOKEN.slice(0, -1), `${TOKEN} `, `${TOKEN}x`, TOKEN.toUpperCase(), "x".repeat(100_000)])
    expect(await sessionsWith().sessions.signIn(token)).toEqual({ kind: "wrong" });
});

test("the cookie is HttpOnly and SameSite=Strict, and over TLS also Secure", () => {
  const { setCookie } = sessionsWith().sessions;
  expect(setCookie("value", false)).toBe(
    "bellhop_inspector_3001=value; Path=/; Max-Age=43200; HttpOnly; SameSite=Strict",
  );
  // Browsers let no other host of the domain set a cookie with this prefix.
  expect(setCookie("value", true)).toBe(
    "__Host-bellhop_inspector_3001=value; Path=/; Max-Age=43200; HttpOnly; SameSite=Strict; Secure",
  );
  expect(setCookie(null, false)).toStartWith("bellhop_inspector_3001=; Path=/; Max-Age=0;");
  expect(setCookie(null, true)).toStartWith("__Host-bellhop_inspector_3001=; Path=/; Max-Age=0;");
});

test("a session is valid under both cookie names, and a sign-out ends it under both", async () => {
  const created = sessionsWith();
  const [plain, secure] = [await cookieOf(created), `__Host-${await cookieOf(created)}`];
  expect(created.sessions.knows(secure)).toBe(true);
  expect(created.sessions.knows(`${plain}; __Host-bellhop_inspector_3001=nonsense`)).toBe(true);
  created.sessions.signOut(`${plain}; ${secure}`);
  expect([plain, secure].map((cookie) => created.sessions.knows(cookie))).toEqual([false, false]);
});
