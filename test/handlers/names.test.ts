import { expect, test } from "bun:test";

import { eventNames } from "../../src/clerk/events.ts";
import { matchesPattern } from "../../src/clerk/pattern.ts";
import { fileFor, type HandlerName, type NotAHandler, readName } from "../../src/handlers/names.ts";

test.each([
  ["user.created.ts", "user.created", "user.created", "user"],
  ["user.deleted.ts", "user.deleted", "user.deleted", "user"],
  [
    "organizationMembership.created.ts",
    "organizationMembership.created",
    "organizationMembership.created",
    "organizationMembership",
  ],
  ["user.created/crm.ts", "user.created/crm", "user.created", "user/crm"],
  ["user.updated/crm.ts", "user.updated/crm", "user.updated", "user/crm"],
  ["user.created/send-to_crm2.ts", "user.created/send-to_crm2", "user.created", "user/send-to_crm2"],
  ["user.[action].ts", "user.[action]", "user.*", "user.[action]"],
  ["user.[name].ts", "user.[name]", "user.*", "user.[name]"],
  ["user.[action]/crm.ts", "user.[action]/crm", "user.*", "user.[action]/crm"],
  ["[...event].ts", "[...event]", "*", "[...event]"],
  ["[...event]/audit.ts", "[...event]/audit", "*", "[...event]/audit"],
  ["passkey.created.ts", "passkey.created", "passkey.created", "passkey"],
  ["billing.invoice.paid.ts", "billing.invoice.paid", "billing.invoice.paid", "billing"],
])("%s is the handler %s of %s in lane %s", (file, name, event, lane) => {
  expect(readName(file)).toEqual({ name, file, event, lane });
});

test.each(["ts", "tsx", "mts", "cts", "js", "jsx", "mjs", "cjs"])("a handler may be written in .%s", (extension) => {
  expect(readName(`user.created.${extension}`)).toMatchObject({ name: "user.created" });
});

test.each([
  "_lib.ts",
  "_schema.sql",
  "_dead.ts",
  "_emails/welcome.ts",
  "user.created/_lib.ts",
  "_emails/user.created/crm.ts",
  ".hidden.ts",
  ".git/user.created.ts",
  "user.created.d.ts",
  "types.d.mts",
  "user.created.test.ts",
  "user.created/crm.spec.tsx",
  "user.created_test.ts",
  "README.md",
  "user.created.json",
  "user.created.ts~",
  "user.created",
])("%s is quietly ignored", (file) => {
  expect(readName(file)).toEqual({ file, reason: expect.any(String), quiet: true });
});

test.each([
  ["user.ts", "is not an event"],
  ["created.ts", "is not an event"],
  ["user-created.ts", "is not an event"],
  ["user.created!.ts", "is not an event"],
  ["user..created.ts", "is not an event"],
  ["user.[action].extra.ts", "is not an event"],
  ["[action].ts", "is not an event"],
  ["1user.created.ts", "is not an event"],
  ["user/created.ts", "the folder's name, user, is not an event"],
  ["emails/welcome.ts", "the folder's name, emails, is not an event"],
  ["user.created/crm/deep.ts", "is too deep"],
  ["user.created/my crm.ts", "is not a plain name"],
  ["user.created/crm.v2.ts", "is not a plain name"],
])("%s is reported as not a handler, with the reason", (file, reason) => {
  expect(readName(file)).toEqual({ file, reason: expect.stringContaining(reason), quiet: false });
});

test("every Clerk event has a file name that reads as that event", () => {
  for (const event of eventNames) {
    const read = readName(fileFor(event));
    expect(read).toMatchObject({ name: event, event });
    expect(matchesPattern((read as HandlerName).event, event)).toBe(true);
  }
});

test.each([
  ["user.created", "user.created.ts"],
  ["user.created/crm", "user.created/crm.ts"],
  ["user.*", "user.[action].ts"],
  ["user.*/crm", "user.[action]/crm.ts"],
  ["*", "[...event].ts"],
  ["*/audit", "[...event]/audit.ts"],
])("a handler of %s belongs in %s, which reads as the same event", (name, file) => {
  expect(fileFor(name)).toBe(file);
  const read = readName(file) as HandlerName;
  expect(read.event).toBe(name.split("/")[0]!);
});

test("handlers of one object type share a lane, and files of the same name in their folders share another", () => {
  const lane = (file: string) => (readName(file) as HandlerName).lane;
  const plain = ["user.created.ts", "user.updated.ts", "user.deleted.ts"].map(lane);
  const crm = ["user.created/crm.ts", "user.deleted/crm.ts"].map(lane);
  expect(new Set(plain).size).toBe(1);
  expect(new Set(crm).size).toBe(1);
  const all = [
    plain[0],
    crm[0],
    ...["user.created/mail.ts", "user.[action].ts", "[...event].ts", "session.created.ts"].map(lane),
  ];
  expect(new Set(all).size).toBe(all.length);
});

test.each([
  ["user.created", "user.created", true],
  ["user.created", "user.updated", false],
  ["user.created", "user.created.twice", false],
  ["user.*", "user.created", true],
  ["user.*", "user.of.tomorrow", true],
  ["user.*", "userinfo.created", false],
  ["user.*", "user", false],
  ["user.*", "users", false],
  ["user.*", "", false],
  ["subscription.*", "subscriptionItem.active", false],
  ["*", "user.created", true],
  ["*", "unknown", true],
])("the pattern %s matches %s: %p", (event, type, expected) => {
  expect(matchesPattern(event, type)).toBe(expected);
});

test("a reason follows the file and a colon", () => {
  const { reason } = readName("user.created/a/b.ts") as NotAHandler;
  expect(reason).toBe("it is too deep; a handler is at most one folder down: user.created/b.ts");
});
