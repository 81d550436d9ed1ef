// The public types, used as the author of a handler uses them. `bun check` fails when one breaks.

import { expect, expectTypeOf, test } from "bun:test";

import type { ClerkClient, DeletedObjectJSON, OrganizationJSON, UserDeletedJSON, UserJSON } from "@clerk/backend";
import {
  type ClerkEvent,
  type DeadRun,
  type EventName,
  type HandlerContext,
  type HandlerFunction,
  type HandlerLog,
  type HandlerOptions,
  NonRetriableError,
  on,
  type RegisteredHandler,
  RetryAfterError,
  t,
} from "bellhop";

import * as host from "../src/index.ts";

test("`bellhop` resolves to src/index.ts", () => {
  expect(on).toBe(host.on);
  expectTypeOf(on).toEqualTypeOf<typeof host.on>();
});

test("a handler for one event has that event's data", () => {
  const handler = on("user.created", ({ event, data }) => {
    expectTypeOf(data).toEqualTypeOf<UserJSON>();
    expectTypeOf(event).toEqualTypeOf<ClerkEvent<"user.created">>();
    expectTypeOf(event.type).toEqualTypeOf<"user.created">();
    expectTypeOf(event.timestamp).toEqualTypeOf<number>();
  });
  expectTypeOf(handler).toEqualTypeOf<RegisteredHandler<"user.created">>();
  on("user.deleted", ({ data }) => expectTypeOf(data).toEqualTypeOf<UserDeletedJSON>());
  on("role.deleted", ({ data }) => expectTypeOf(data).toEqualTypeOf<DeletedObjectJSON>());
});

test("options come between the event and the function, and may be omitted or empty", () => {
  on("user.created", {}, () => undefined);
  on("user.created", { attempts: 5 }, ({ data }) => expectTypeOf(data).toEqualTypeOf<UserJSON>());
  on("user.created", { attempts: 5, timeout: "2m", stale: "skip" }, async ({ data }) => data.id);
  on("user.created", { timeout: 30_000, stale: "run" }, () => 1);
  const shared: HandlerOptions = { attempts: 3 };
  on("session.created", shared, () => undefined);
});

test("a handler for a kind has a union, and checking the type narrows the data", () => {
  on("user.*", ({ event, data }) => {
    expectTypeOf(event.type).toEqualTypeOf<"user.created" | "user.updated" | "user.deleted">();
    expectTypeOf(data).toEqualTypeOf<UserJSON | UserDeletedJSON>();
    if (event.type === "user.deleted") expectTypeOf(event.data).toEqualTypeOf<UserDeletedJSON>();
    else expectTypeOf(event.data).toEqualTypeOf<UserJSON>();
    // @ts-expect-error A deleted user has no names.
    void data.first_name;
  });
  on("subscription.*", ({ event }) => {
    expectTypeOf<Extract<(typeof event)["type"], `subscriptionItem.${string}`>>().toBeNever();
  });
});

test("a handler for all events has a union, and checking the type narrows the data", () => {
  on("*", ({ event }) => {
    expectTypeOf(event.type).toEqualTypeOf<EventName>();
    if (event.type === "organization.created") expectTypeOf(event.data).toEqualTypeOf<OrganizationJSON>();
    // @ts-expect-error Not every event has a slug.
    void event.data.slug;
  });
});

test("the context has the types that the README documents", () => {
  on("user.created", (context) => {
    expectTypeOf(context).toEqualTypeOf<HandlerContext<"user.created">>();
    const { delivery, run, log, signal, clerk } = context;
    expectTypeOf(delivery).toEqualTypeOf<{ id: string; receivedAt: Date; receipts: number; sample: boolean }>();
    expectTypeOf(run).toEqualTypeOf<{ attempt: number; replay: boolean; stale: boolean; idempotencyKey: string }>();
    expectTypeOf(signal).toEqualTypeOf<AbortSignal>();
    expectTypeOf(clerk).toEqualTypeOf<ClerkClient>();
    expectTypeOf(log.info).toEqualTypeOf<(message: string, ...more: unknown[]) => void>();
    expectTypeOf<keyof typeof log>().toEqualTypeOf<"debug" | "info" | "warn" | "error">();
  });
});

const plan = t.Object({ public_metadata: t.Object({ plan: t.String() }) });

test("a schema types the properties it describes and keeps Clerk's types for the rest", () => {
  on("user.updated", { attempts: 3, timeout: "5s", data: plan }, ({ data, event, log }) => {
    expectTypeOf(data.public_metadata.plan).toEqualTypeOf<string>();
    expectTypeOf(data.id).toEqualTypeOf<string>();
    expectTypeOf(data).toExtend<UserJSON>();
    expectTypeOf(event).toEqualTypeOf<ClerkEvent<"user.updated">>();
    log.info(data.public_metadata.plan.toUpperCase());
    // @ts-expect-error A plan is a string.
    const count: number = data.public_metadata.plan;
    void count;
    // @ts-expect-error A user has no such property.
    void data.email;
  });
  const optional = t.Object({
    public_metadata: t.Object({ seats: t.Optional(t.Integer()), kind: t.Union([t.Literal("a"), t.Literal("b")]) }),
  });
  on("organization.created", { data: optional }, async ({ data }) => {
    expectTypeOf(data.public_metadata.seats).toEqualTypeOf<number | undefined>();
    expectTypeOf(data.public_metadata.kind).toEqualTypeOf<"a" | "b">();
  });
});

test("a schema types the data of a pattern, for each of its events", () => {
  on("user.*", { data: plan }, ({ data, event }) => {
    expectTypeOf(data.public_metadata.plan).toEqualTypeOf<string>();
    expectTypeOf(event.type).toEqualTypeOf<"user.created" | "user.updated" | "user.deleted">();
  });
  on("*", { data: t.Object({ id: t.String() }), stale: "skip" }, ({ data }) => {
    expectTypeOf(data.id).toEqualTypeOf<string>();
  });
});

test("without a schema the data has Clerk's type, also with other options", () => {
  on("user.created", { attempts: 2 }, ({ data }) => {
    expectTypeOf(data).toEqualTypeOf<UserJSON>();
    // @ts-expect-error Without a schema, metadata has no known properties.
    data.public_metadata.plan.toUpperCase();
  });
});

test("a separate function can take data of a schema", () => {
  const bill = ({ data }: HandlerContext<"user.updated", { public_metadata: { plan: string } }>) =>
    data.public_metadata.plan.length;
  on("user.updated", { data: plan }, bill);
  // @ts-expect-error Without the schema the plan is unchecked.
  const wrong = () => on("user.updated", ({ data }) => data.public_metadata.plan.length);
  void wrong;
});

test("rejects wrong schemas at compile time", () => {
  const mistakes = () => {
    // @ts-expect-error A schema is made with t.
    on("user.updated", { data: "plan" }, () => undefined);
    // @ts-expect-error A schema is made with t, not with an object of type names.
    on("user.updated", { data: { public_metadata: { plan: "string" } } }, () => undefined);
    // @ts-expect-error A schema needs a handler.
    on("user.updated", { data: plan });
    // @ts-expect-error Neither the schema nor a user has this property.
    on("user.updated", { data: plan }, ({ data }) => data.plan);
    // @ts-expect-error A seat is a number.
    on("user.updated", { data: t.Object({ seats: t.Number() }) }, ({ data }) => data.seats.toUpperCase());
    // @ts-expect-error The name is checked with a schema too.
    on("user.update", { data: plan }, () => undefined);
    // @ts-expect-error The type is called `String`.
    t.Strong();
  };
  expectTypeOf(mistakes).toBeFunction();
  expect(t.String()).toMatchObject({ type: "string" });
  expectTypeOf<HandlerOptions<typeof plan>["data"]>().toEqualTypeOf<typeof plan | undefined>();
});

test("the argument of _dead.ts is typed", () => {
  const format = ({ run, delivery, error }: DeadRun) =>
    `${run.handler} died of ${error.message} after ${run.attempts}: ${delivery.type} ${delivery.receivedAt.toISOString()}`;
  expectTypeOf(format).returns.toBeString();
  // @ts-expect-error The payload is not included.
  void (({ delivery }: DeadRun) => delivery.body);
});

test("a handler may return anything, at once or later", () => {
  on("user.created", () => undefined);
  on("user.created", () => 42);
  on("user.created", async () => new Response());
  on("user.created", async ({ log }) => log.info("done"));
});

test("a separate function is accepted where the event has the data it needs", () => {
  const upsert = ({ data, log }: { data: UserJSON; log: HandlerLog }) => log.info(data.id);
  on("user.created", upsert);
  on("user.updated", { attempts: 2 }, upsert);
  // @ts-expect-error A deleted user has another type.
  on("user.deleted", upsert);
  const audit: HandlerFunction = ({ event }) => event.type;
  on("*", audit);
  const plain = ({ data, log }: HandlerContext<"user.created">) => log.info(data.id);
  expectTypeOf(plain).toExtend<HandlerFunction<"user.created">>();
});

test("rejects wrong arguments at compile time", () => {
  const mistakes = () => {
    // @ts-expect-error Clerk sends no such event.
    on("user.create", () => undefined);
    // @ts-expect-error The kind is `user`.
    on("users.*", () => undefined);
    // @ts-expect-error A kind needs `.*` at the end.
    on("user", () => undefined);
    // @ts-expect-error An event name is not empty.
    on("", () => undefined);
    // @ts-expect-error The option is called `attempts`.
    on("user.created", { attempt: 5 }, () => undefined);
    // @ts-expect-error Attempts are a number.
    on("user.created", { attempts: "5" }, () => undefined);
    // @ts-expect-error Stale events are run or skipped.
    on("user.created", { stale: "drop" }, () => undefined);
    // @ts-expect-error A handler is missing.
    on("user.created");
    // @ts-expect-error A handler is missing.
    on("user.created", { attempts: 5 });
    // @ts-expect-error The options come first.
    on("user.created", () => undefined, { attempts: 5 });
    // @ts-expect-error A user has no such property.
    on("user.created", ({ data }) => data.email);
    // @ts-expect-error `db` is a tagged template, not an object with a property for each table.
    on("user.created", ({ db }) => db.users);
  };
  expectTypeOf(mistakes).toBeFunction();
});

test("the error classes take the documented arguments", () => {
  expectTypeOf(new NonRetriableError("no such plan", { cause: 1 })).toExtend<Error>();
  expectTypeOf(new RetryAfterError("later", 500).when).toEqualTypeOf<string | number | Date>();
  void new RetryAfterError("later", "30s");
  void new RetryAfterError("later", new Date(), { cause: 1 });
  // @ts-expect-error A time is missing.
  void new RetryAfterError("later");
  expect(new NonRetriableError("x")).toBeInstanceOf(Error);
  expect(new RetryAfterError("x", 1)).toMatchObject({ name: "RetryAfterError", message: "x", when: 1 });
});
