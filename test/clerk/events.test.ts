import { describe, expect, test } from "bun:test";

import { TypeCompiler } from "@sinclair/typebox/compiler";
import fc from "fast-check";

import { isDashboardSample } from "../../src/clerk/dashboard.ts";
import { envelope, eventNames, isEvent, sensitive, subjectOf, suggest } from "../../src/clerk/events.ts";
import { sample } from "../../src/clerk/samples.ts";
import { officialExamples, withoutOfficial } from "./official.ts";

describe("the names of events", () => {
  test("are 46, sorted, and each is there once", () => {
    expect(eventNames).toHaveLength(46);
    expect<readonly string[]>([...new Set(eventNames)].toSorted()).toEqual(eventNames);
  });

  test.skipIf(withoutOfficial)("are those of the Dashboard's examples", async () => {
    const examples = await officialExamples();
    expect<string[]>([...examples.keys()].toSorted()).toEqual([...eventNames]);
    for (const [name, event] of examples) expect<string>(event.type).toBe(name);
  });
});

describe("an envelope", () => {
  const check = TypeCompiler.Compile(envelope);

  test("needs a type and data, and nothing else", () => {
    expect(isEvent({ type: "user.created", data: {} })).toBe(true);
    expect(isEvent({ type: "something.new", data: { id: 1 }, object: 3, more: true })).toBe(true);
  });

  test.each([null, undefined])("of an old delivery is let through when its other properties are %p", (value) => {
    const event = { type: "user.created", data: {}, object: value, timestamp: value, instance_id: value };
    expect(isEvent({ ...event, event_attributes: value })).toBe(true);
  });

  test.each([
    ["nothing", undefined],
    ["null", null],
    ["text", "user.created"],
    ["an array", []],
    ["an array that has the properties", Object.assign([], { type: "user.created", data: {} })],
    ["without a type", { data: {} }],
    ["with an empty type", { type: "", data: {} }],
    ["with a type that is a number", { type: 1, data: {} }],
    ["without data", { type: "user.created" }],
    ["with null as its data", { type: "user.created", data: null }],
    ["with an array as its data", { type: "user.created", data: [] }],
    ["with text as its data", { type: "user.created", data: "{}" }],
  ])("is refused when it is %s", (_, value) => {
    expect(isEvent(value)).toBe(false);
    expect(check.Check(value)).toBe(false);
  });

  test("is judged as its schema judges it, whatever comes", () => {
    const anything = fc.oneof(
      fc.jsonValue(),
      fc.record(
        {
          type: fc.oneof(fc.string(), fc.jsonValue()),
          data: fc.oneof(fc.dictionary(fc.string(), fc.jsonValue()), fc.jsonValue()),
        },
        { requiredKeys: [] },
      ),
    );
    fc.assert(fc.property(anything, (value) => isEvent(value) === check.Check(value)));
  });

  test.skipIf(withoutOfficial)("is what every one of the Dashboard's examples has", async () => {
    for (const event of (await officialExamples()).values()) expect(isEvent(event)).toBe(true);
  });
});

describe("the subject of an event", () => {
  test("is the id of its data", () => {
    expect(subjectOf({ data: { id: "user_1" } })).toBe("user_1");
  });

  test.each([[{}], [{ id: "" }], [{ id: null }], [{ id: 7 }]])("is null for %p", (data) => {
    expect(subjectOf({ data })).toBeNull();
  });
});

test("the events that carry one-time codes are those of messages", () => {
  expect(eventNames.filter(sensitive)).toEqual(["email.created", "sms.created"]);
});

describe("a wrong name", () => {
  test.each([
    ["user.create", "user.created"],
    ["User.Created", "user.created"],
    ["user_created", "user.created"],
    ["usre.created", "user.created"],
    ["organization_membership.created", "organizationMembership.created"],
    ["organization-membership.created", "organizationMembership.created"],
    ["organizationmembership.created", "organizationMembership.created"],
    ["subscriptionItem.past_due", "subscriptionItem.pastDue"],
    ["subscriptionItem.cancelled", "subscriptionItem.canceled"],
    ["waitlist.created", "waitlistEntry.created"],
    ["session.end", "session.ended"],
    ["emails.created", "email.created"],
  ])("%s gets the suggestion %s", (name, expected) => {
    expect(suggest(name)).toBe(expected);
  });

  test.each(["", "x", "invoice.paid", "readme", "constructor", "x".repeat(100_000)])(
    "that is near to nothing gets no suggestion (%#)",
    (name) => {
      expect(suggest(name)).toBeUndefined();
    },
  );

  test("is compared with other names when these are given", () => {
    expect(suggest("repaly", ["deliveries", "replay"])).toBe("replay");
  });

  test("is found however one letter of it is missing, extra, wrong or swapped with the next", () => {
    const typo = fc.record({ name: fc.constantFrom(...eventNames), at: fc.nat(), kind: fc.nat(3) });
    fc.assert(
      fc.property(typo, ({ name, at, kind }) => {
        const i = at % name.length;
        const [head, letter, tail] = [name.slice(0, i), name.slice(i, i + 1), name.slice(i + 1)];
        const wrong = [
          head + tail,
          `${head}${letter}q${tail}`,
          `${head}q${tail}`,
          head + tail.slice(0, 1) + letter + tail.slice(1),
        ];
        return suggest(wrong[kind]!) === name;
      }),
    );
  });
});

describe("the Dashboard's examples", () => {
  test.skipIf(withoutOfficial)("are all known as such", async () => {
    for (const event of (await officialExamples()).values()) expect(isDashboardSample(event)).toBe(true);
  });

  test("are told from our own samples, from real ids, and from events without an id", () => {
    for (const name of eventNames) expect(isDashboardSample(sample(name))).toBe(false);
    expect(isDashboardSample({ data: { id: "user_2g7np7Hrk0SN6kj5EDMLDaKNL0T" } })).toBe(false);
    expect(isDashboardSample({ data: {} })).toBe(false);
  });
});
