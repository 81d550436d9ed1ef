import { describe, expect, test } from "bun:test";

import { Type } from "@sinclair/typebox";
import { TypeCompiler } from "@sinclair/typebox/compiler";
import fc from "fast-check";

import { isDashboardSample, SAMPLE_INSTANCE } from "../../src/clerk/dashboard.ts";
import { eventNames, isEvent, sensitive, subjectOf } from "../../src/clerk/events.ts";
import { sample } from "../../src/clerk/samples.ts";
import { suggest } from "../../src/suggest.ts";
import { officialExamples, withoutOfficial } from "./official.ts";

describe("eventNames", () => {
  test("has 46 names, sorted and without duplicates", () => {
    expect(eventNames).toHaveLength(46);
    expect<readonly string[]>([...new Set(eventNames)].toSorted()).toEqual(eventNames);
  });

  test.skipIf(withoutOfficial)("has exactly the names of the Dashboard's examples", async () => {
    const examples = await officialExamples();
    expect<string[]>([...examples.keys()].toSorted()).toEqual([...eventNames]);
    for (const [name, event] of examples) expect<string>(event.type).toBe(name);
  });
});

describe("isEvent", () => {
  const check = TypeCompiler.Compile(
    Type.Object({ type: Type.String({ minLength: 1, maxLength: 256 }), data: Type.Object({}) }),
  );

  test("requires a type and data, and nothing else", () => {
    expect(isEvent({ type: "user.created", data: {} })).toBe(true);
    expect(isEvent({ type: "something.new", data: { id: 1 }, object: 3, more: true })).toBe(true);
  });

  test.each([null, undefined])("accepts an old delivery whose other properties are %p", (value) => {
    const event = { type: "user.created", data: {}, object: value, timestamp: value, instance_id: value };
    expect(isEvent({ ...event, event_attributes: value })).toBe(true);
  });

  test.each([
    ["nothing", undefined],
    ["null", null],
    ["text", "user.created"],
    ["an array", []],
    ["an array with the properties of an event", Object.assign([], { type: "user.created", data: {} })],
    ["an event without a type", { data: {} }],
    ["an event with an empty type", { type: "", data: {} }],
    ["an event whose type is a number", { type: 1, data: {} }],
    ["an event without data", { type: "user.created" }],
    ["an event whose data is null", { type: "user.created", data: null }],
    ["an event whose data is an array", { type: "user.created", data: [] }],
    ["an event whose data is a string", { type: "user.created", data: "{}" }],
  ])("rejects %s", (_, value) => {
    expect(isEvent(value)).toBe(false);
    expect(check.Check(value)).toBe(false);
  });

  test("agrees with a schema on any input", () => {
    const input = fc.oneof(
      fc.jsonValue(),
      fc.record(
        {
          type: fc.oneof(fc.string(), fc.jsonValue()),
          data: fc.oneof(fc.dictionary(fc.string(), fc.jsonValue()), fc.jsonValue()),
        },
        { requiredKeys: [] },
      ),
    );
    fc.assert(fc.property(input, (value) => isEvent(value) === check.Check(value)));
  });

  test.skipIf(withoutOfficial)("accepts all of the Dashboard's examples", async () => {
    for (const event of (await officialExamples()).values()) expect(isEvent(event)).toBe(true);
  });
});

describe("subjectOf", () => {
  test("returns data.id", () => {
    expect(subjectOf({ data: { id: "user_1" } })).toBe("user_1");
  });

  test.each([[{}], [{ id: "" }], [{ id: null }], [{ id: 7 }], [{ id: "u".repeat(257) }]])(
    "returns null for the data %p",
    (data) => {
      expect(subjectOf({ data })).toBeNull();
    },
  );
});

test("only email.created and sms.created are sensitive", () => {
  expect(eventNames.filter(sensitive)).toEqual(["email.created", "sms.created"]);
});

describe("suggest", () => {
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
  ])("corrects %s to %s", (name, expected) => {
    expect(suggest(name, eventNames)).toBe(expected);
  });

  test.each(["", "x", "invoice.paid", "readme", "constructor", "x".repeat(100_000)])(
    "returns undefined when no name is similar (%#)",
    (name) => {
      expect(suggest(name, eventNames)).toBeUndefined();
    },
  );

  test("chooses among the given candidates", () => {
    expect(suggest("repaly", ["deliveries", "replay"])).toBe("replay");
  });

  test("finds every name with one letter missing, added, wrong or swapped with the next", () => {
    const typo = fc.record({ name: fc.constantFrom(...eventNames), at: fc.nat(), kind: fc.nat(3) });
    fc.assert(
      fc.property(typo, ({ name, at, kind }) => {
        const i = at % name.length;
        const [head, letter, tail] = [name.slice(0, i), name.slice(i, i + 1), name.slice(i + 1)];
        const misspelled = [
          head + tail,
          `${head}${letter}q${tail}`,
          `${head}q${tail}`,
          head + tail.slice(0, 1) + letter + tail.slice(1),
        ];
        return suggest(misspelled[kind]!, eventNames) === name;
      }),
    );
  });
});

describe("isDashboardSample", () => {
  test.skipIf(withoutOfficial)("recognises all of the Dashboard's examples", async () => {
    for (const event of (await officialExamples()).values()) expect(isDashboardSample(event)).toBe(true);
  });

  test.each([
    "user_29w83sxmDNGwOuEthce5gg56FcC",
    "user_29wBMCtzATuFJut8jO2VNTVekS4",
    "user_29wACSk1DjeUCwsS6SbbgIgilMy",
    "org_29w9IfBrPmcpi0IeBVaKtA7R94W",
    "orgmem_29w9IptNja3mP8GDXpquBwN2qR9",
    "orgmem_29wAbjiJs6aZuPq7AzmkW9dwmyl",
    "orginv_29wBIniWYy0slasTNQlmHD9HeN1",
    "orginv_29wBrB4vFM8wqWv9mHSpw3P7QW0",
    "sess_29wBYxnMCQU2KIs6V3ZPOJCPUXx",
  ])("is true for the older example %s", (id) => {
    expect(isDashboardSample({ data: { id } })).toBe(true);
    // The list is closed: other ids with the same prefix are real.
    expect(isDashboardSample({ data: { id: `${id.slice(0, -1)}Z` } })).toBe(false);
  });

  test("all samples have the same instance id, which Clerk does not use", () => {
    for (const name of eventNames) expect(sample(name).instance_id).toBe(SAMPLE_INSTANCE);
  });

  test("is false for Bellhop's samples, for real ids and for events without an id", () => {
    for (const name of eventNames) expect(isDashboardSample(sample(name))).toBe(false);
    expect(isDashboardSample({ data: { id: "user_2g7np7Hrk0SN6kj5EDMLDaKNL0T" } })).toBe(false);
    expect(isDashboardSample({ data: {} })).toBe(false);
  });
});
