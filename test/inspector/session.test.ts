import { expect, test } from "bun:test";

import { createSessions, setCookie } from "../../src/inspector/session.ts";

const TOKEN = "an-inspector-token-of-32-letters";
const HOUR_MS = 3_600_000;

function sessionsWith(token = TOKEN) {
  const clock = { now: 1_700_000_000_000, slept: [] as number[] };
  const sleep = async (milliseconds: number) => void clock.slept.push(milliseconds);
  return { clock, sessions: createSessions({ token, now: () => clock.now, sleep }) };
}

async function cookieOf({ sessions }: ReturnType<typeof sessionsWith>): Promise<string> {
  const signedIn = await sessions.signIn(TOKEN);
  if (signedIn.is !== "right") throw new Error(signedIn.is);
  return `bellhop_inspector=${signedIn.value}`;
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
    expect(made.sessions.knows(`bellhop_inspector=${value}`), value).toBe(false);
  expect(made.sessions.knows(null)).toBe(false);
  expect(made.sessions.knows(cookie.replace("bellhop_inspector", "bellhop"))).toBe(false);
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
  made.sessions.signOut("bellhop_inspector=nonsense");
  made.sessions.signOut(null);
  expect([one, other].map((cookie) => made.sessions.knows(cookie))).toEqual([false, true]);
});

test("wrong tokens are answered later and later, and after ten in a minute no more, not even the right one", async () => {
  const { clock, sessions } = sessionsWith();
  for (let each = 0; each < 10; each += 1) expect(await sessions.signIn(`wrong ${each}`)).toEqual({ is: "wrong" });
  expect(clock.slept).toEqual([250, 500, 1_000, 2_000, ...Array.from({ length: 6 }, () => 4_000)]);
  clock.now += 20_000;
  expect(await sessions.signIn(TOKEN)).toEqual({ is: "too_many", retryAfterMs: 40_000 });
  clock.now += 40_000;
  expect(await sessions.signIn(TOKEN)).toMatchObject({ is: "right" });
});

test("a thousand wrong tokens at once are ten", async () => {
  const { clock, sessions } = sessionsWith();
  const answers = await Promise.all(Array.from({ length: 1_000 }, (_, each) => sessions.signIn(`wrong ${each}`)));
  expect(answers.filter(({ is }) => is === "wrong")).toHaveLength(10);
  expect(clock.slept).toHaveLength(10);
});

test("a token that is nearly right is wrong", async () => {
  for (const token of ["", TOKEN.slice(0, -1), `${TOKEN} `, `${TOKEN}x`, TOKEN.toUpperCase(), "x".repeat(100_000)])
    expect(await sessionsWith().sessions.signIn(token)).toEqual({ is: "wrong" });
});

test("scripts can't read the cookie, other sites can't send it, and by TLS it comes back by TLS alone", () => {
  expect(setCookie("value", false)).toBe("bellhop_inspector=value; Path=/; Max-Age=43200; HttpOnly; SameSite=Strict");
  expect(setCookie("value", true)).toEndWith("; HttpOnly; SameSite=Strict; Secure");
  expect(setCookie(null, false)).toStartWith("bellhop_inspector=; Path=/; Max-Age=0;");
});
