import { expectTypeOf, test } from "bun:test";

import type { DeletedObjectJSON, OrganizationJSON, SessionJSON, UserDeletedJSON, UserJSON } from "@clerk/backend";
import type { WebhookEvent, WebhookEventType } from "@clerk/backend/webhooks";

import {
  type ClerkEvent,
  type ClerkEvents,
  type EventName,
  eventNames,
  type EventPattern,
  type KnownEventName,
  type ReceivedEvent,
} from "../../src/clerk/events.ts";
import type { Corrections } from "../../src/clerk/payloads.ts";
import { sample } from "../../src/clerk/samples.ts";

type Same<A, B> = [A] extends [B] ? ([B] extends [A] ? true : false) : false;

/** The SDK's `data` for one name, derived independently of src/clerk/payloads.ts. */
type Sdk<Name, Event extends WebhookEvent = WebhookEvent> = Event extends unknown
  ? Name extends Event["type"]
    ? Event["data"]
    : never
  : never;

test("eventNames has the SDK's names, and session.pending, which the SDK lacks", () => {
  expectTypeOf<Exclude<WebhookEventType, KnownEventName>>().toBeNever();
  expectTypeOf<Exclude<KnownEventName, WebhookEventType>>().toEqualTypeOf<"session.pending">();
  // Not equal: an event that is added by declaration merging must not break this.
  expectTypeOf<KnownEventName>().toExtend<EventName>();
});

test("data has the SDK's own type, except for the corrections", () => {
  type Different = {
    [Name in KnownEventName]: Same<ClerkEvent<Name>["data"], Sdk<Name>> extends true ? never : Name;
  }[KnownEventName];
  // A name missing on the left means that the SDK has caught up: remove that correction.
  expectTypeOf<Different>().toEqualTypeOf<keyof Corrections>();

  expectTypeOf<ClerkEvents["user.created"]>().toEqualTypeOf<UserJSON>();
  expectTypeOf<ClerkEvents["user.deleted"]>().toEqualTypeOf<UserDeletedJSON>();
  expectTypeOf<ClerkEvents["role.deleted"]>().toEqualTypeOf<DeletedObjectJSON>();
  expectTypeOf<ClerkEvents["session.pending"]>().toExtend<SessionJSON>();
});

test("corrected data has the types that Clerk sends", () => {
  type Item = ClerkEvents["subscriptionItem.active"];
  expectTypeOf<undefined>().toExtend<Item["amount"]>();
  expectTypeOf<Item["subscription_id"]>().toEqualTypeOf<string | null>();
  expectTypeOf<NonNullable<Item["plan"]>["name"]>().toEqualTypeOf<string>();
  expectTypeOf<ClerkEvents["subscription.active"]["canceled_at"]>().toEqualTypeOf<number | null>();
  expectTypeOf<ClerkEvents["paymentAttempt.updated"]["paid_at"]>().toEqualTypeOf<number | null>();
  // @ts-expect-error The SDK's name; Clerk sends `expire_at`.
  expectTypeOf<NonNullable<ClerkEvents["organizationDomain.created"]["verification"]>["expires_at"]>();
});

test("a pattern has the union of the events that it matches", () => {
  expectTypeOf<ClerkEvent<"user.*">["type"]>().toEqualTypeOf<"user.created" | "user.deleted" | "user.updated">();
  expectTypeOf<ClerkEvent<"user.*">>().toEqualTypeOf<
    ClerkEvent<"user.created"> | ClerkEvent<"user.deleted"> | ClerkEvent<"user.updated">
  >();
  // `subscription.*` does not include the events of subscription items.
  expectTypeOf<Extract<ClerkEvent<"subscription.*">["type"], `subscriptionItem.${string}`>>().toBeNever();
  expectTypeOf<ClerkEvent["type"]>().toEqualTypeOf<EventName>();

  expectTypeOf<"session.*">().toExtend<EventPattern>();
  expectTypeOf<"*">().toExtend<EventPattern>();
  expectTypeOf<"user.create">().not.toExtend<EventPattern>();
  // @ts-expect-error The kind is `user`.
  expectTypeOf<ClerkEvent<"users.*">>();
});

test("checking the type narrows the data", () => {
  for (const name of eventNames) {
    const event: ClerkEvent = sample(name);
    if (event.type === "user.created") expectTypeOf(event.data).toEqualTypeOf<UserJSON>();
    if (event.type === "organization.created") expectTypeOf(event.data).toEqualTypeOf<OrganizationJSON>();
    // @ts-expect-error Not every event has a slug.
    void event.data.slug;
  }
});

test("timestamp is always there, and properties that old deliveries lack are optional", () => {
  expectTypeOf<ClerkEvent<"user.created">["timestamp"]>().toEqualTypeOf<number>();
  expectTypeOf<ClerkEvent<"user.created">["object"]>().toEqualTypeOf<"event">();
  expectTypeOf<ClerkEvent<"user.created">["instance_id"]>().toEqualTypeOf<string | undefined>();
});

test("a sample has the type of its event and is a received event", () => {
  expectTypeOf(sample<"user.created">).returns.toExtend<ClerkEvent<"user.created"> & ReceivedEvent>();
  // @ts-expect-error Clerk sends no such event.
  expectTypeOf(sample<"user.create">);
  // @ts-expect-error A name is a string.
  sample("user.created", { overrides: { data: { first_name: 7 } } });
});
