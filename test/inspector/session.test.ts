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

test("the right token gives a cookie that is known, for twelve hours, and does not hold the token", async () => {
  const made = sessionsWith();
  const cookie = await cookieOf(made);
  expect(cookie).not.toContain(TOKEN);
  expect(made.sessions.knows(cookie)).toBe(true);
  expect(made.sessions.knows(`theme=dark; ${cookie}; other=1`)).toBe(true);
  made.clock.now += 12 * HOUR_MS - 1;
  expect(made.sessions.knows(cookie)).toBe(true);
  made.clock.now += 1;
  expect(made.sessions.knows(cookie)).toBe(false);
  expect(made.clock.slept).toEqual([]);
});

test("a cookie that is not ours, or not as we made it, is not known", async () => {
  const made = sessionsWith();
  const cookie = await cookieOf(made);
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
    expect(made.sessions.knows(`bellhop_inspector_3001=${value}`), value).toBe(false);
  expect(made.sessions.knows(null)).toBe(false);
  expect(made.sessions.knows(cookie.replace("3001", "3002"))).toBe(false);
});

test("a restart with the same token signs nobody out, and another token everybody", async () => {
  const cookie = await cookieOf(sessionsWith());
  expect(sessionsWith().sessions.knows(cookie)).toBe(true);
  expect(sessionsWith(`${TOKEN}2`).sessions.knows(cookie)).toBe(false);
});

test("who has signed out is out, also with the cookie that was kept; others stay", async () => {
  const made = sessionsWith();
  const [one, other] = [await cookieOf(made), await cookieOf(made)];
  made.sessions.signOut(one);
  made.sessions.signOut(one);
  made.sessions.signOut("bellhop_inspector_3001=nonsense");
  made.sessions.signOut(null);
  expect([one, other].map((cookie) => made.sessions.knows(cookie))).toEqual([false, true]);
});

test("a sign-out outlives a restart, and the file that keeps it opens nothing", async () => {
  await using folder = await temporaryFolder();
  const signedOutFile = join(folder.path, "signed-out.json");
  const made = sessionsWith(TOKEN, { signedOutFile });
  const [one, other] = [await cookieOf(made), await cookieOf(made)];
  made.sessions.signOut(one);
  const after = sessionsWith(TOKEN, { signedOutFile }).sessions;
  expect([one, other].map((cookie) => after.knows(cookie))).toEqual([false, true]);
  expect(readFileSync(signedOutFile, "utf8")).not.toContain(one.split(".").at(-1)!);
  expect(statSync(signedOutFile).mode & 0o777).toBe(0o600);

  // Forgotten when it would have expired.
  made.clock.now += 12 * HOUR_MS;
  made.sessions.signOut(await cookieOf(made));
  expect(Object.keys(JSON.parse(readFileSync(signedOutFile, "utf8")))).toHaveLength(1);
});

test("a sign-out that can't be written is reported, and holds until the restart", async () => {
  await using folder = await temporaryFolder();
  const errors: unknown[] = [];
  const options = {
    signedOutFile: join(folder.path, "nowhere/signed-out.json"),
    onError: (error: unknown) => errors.push(error),
  };
  const made = sessionsWith(TOKEN, options);
  const cookie = await cookieOf(made);
  made.sessions.signOut(cookie);
  expect(made.sessions.knows(cookie)).toBe(false);
  expect(errors).toMatchObject([{ code: "ENOENT" }]);
});

test("a damaged file of sign-outs is a new one", async () => {
  await using folder = await temporaryFolder();
  const signedOutFile = join(folder.path, "signed-out.json");
  for (const text of ["", "{", "null", "[]", '"x"', '{"a":"b"}']) {
    await Bun.write(signedOutFile, text);
    const made = sessionsWith(TOKEN, { signedOutFile });
    const cookie = await cookieOf(made);
    expect(made.sessions.knows(cookie)).toBe(true);
    made.sessions.signOut(cookie);
    expect(sessionsWith(TOKEN, { signedOutFile }).sessions.knows(cookie)).toBe(false);
  }
});

test("wrong tokens are answered later and later, and after ten in a minute no more; the right one always opens", async () => {
  const { clock, sessions } = sessionsWith();
  for (let each = 0; each < 10; each += 1) expect(await sessions.signIn(`wrong ${each}`)).toEqual({ kind: "wrong" });
  expect(clock.slept).toEqual([250, 500, 1_000, 2_000, ...Array.from({ length: 6 }, () => 4_000)]);
  clock.now += 20_000;
  expect(await sessions.signIn("wrong")).toEqual({ kind: "too_many", retryAfterMs: 40_000 });
  expect(await sessions.signIn(TOKEN)).toMatchObject({ kind: "right" });
  clock.now += 40_000;
  expect(await sessions.signIn("wrong")).toEqual({ kind: "wrong" });
});

test("a thousand wrong tokens at once are ten", async () => {
  const { clock, sessions } = sessionsWith();
  const answers = await Promise.all(Array.from({ length: 1_000 }, (_, each) => sessions.signIn(`wrong ${each}`)));
  expect(answers.filter(({ kind }) => kind === "wrong")).toHaveLength(10);
  expect(clock.slept).toHaveLength(10);
});

test("a token that is nearly right is wrong", async () => {
  for (const token of ["", TOKEN.slice(0, -1), `${TOKEN} `, `${TOKEN}x`, TOKEN.toUpperCase(), "x".repeat(100_000)])
    expect(await sessionsWith().sessions.signIn(token)).toEqual({ kind: "wrong" });
});

test("scripts can't read the cookie, other sites can't send it, and by TLS it comes back by TLS alone", () => {
  const { setCookie } = sessionsWith().sessions;
  expect(setCookie("value", false)).toBe(
    "bellhop_inspector_3001=value; Path=/; Max-Age=43200; HttpOnly; SameSite=Strict",
  );
  // With this prefix, no other host of the domain can set it.
  expect(setCookie("value", true)).toBe(
    "__Host-bellhop_inspector_3001=value; Path=/; Max-Age=43200; HttpOnly; SameSite=Strict; Secure",
  );
  expect(setCookie(null, false)).toStartWith("bellhop_inspector_3001=; Path=/; Max-Age=0;");
  expect(setCookie(null, true)).toStartWith("__Host-bellhop_inspector_3001=; Path=/; Max-Age=0;");
});

test("a session is known by either name, and a sign-out ends it under both", async () => {
  const made = sessionsWith();
  const [plain, secure] = [await cookieOf(made), `__Host-${await cookieOf(made)}`];
  expect(made.sessions.knows(secure)).toBe(true);
  expect(made.sessions.knows(`${plain}; __Host-bellhop_inspector_3001=nonsense`)).toBe(true);
  made.sessions.signOut(`${plain}; ${secure}`);
  expect([plain, secure].map((cookie) => made.sessions.knows(cookie))).toEqual([false, false]);
});
