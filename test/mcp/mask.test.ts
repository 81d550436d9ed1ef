import { expect, test } from "bun:test";

import { maskPayload, withoutValues } from "../../src/mcp/mask.ts";

test("a masked payload keeps structure, ids, times and flags, and no other value", () => {
  const payload = {
    type: "user.created",
    data: {
      id: "user_1",
      external_id: "ada@example.com",
      created_at: 1_700_000_000_000,
      banned: false,
      last_name: null,
      first_name: "Ada",
      role: "Ada Lovelace",
      new_field: 42,
      public_metadata: { id: "gold", created_at: 7 },
    },
  };
  expect(JSON.parse(maskPayload(JSON.stringify(payload)))).toEqual({
    type: "user.created",
    data: {
      ...payload.data,
      external_id: "•••",
      first_name: "•••",
      role: "•••",
      new_field: "•••",
      public_metadata: { id: "•••", created_at: "•••" },
    },
  });
  expect(maskPayload("not JSON")).toBe('"•••"');
});

test("values of the payload are removed from errors and logs, and not from code and names", () => {
  const payload = JSON.stringify({ data: { username: "handlers", email: "a@b.example", seats: 12, phone: 5_551_234 } });
  const run = {
    handler: "handlers",
    error: { message: "a@b.example of handlers failed (12, 5551234)", stack: "at a@b.example:12" },
    log: [{ message: "handlers" }],
    frame: { file: "handlers/user.created.ts", source: [{ text: "a@b.example" }] },
  };
  expect(withoutValues(run, payload)).toEqual({
    handler: "handlers",
    error: { message: "••• of ••• failed (12, •••)", stack: "at •••:12" },
    log: [{ message: "•••" }],
    frame: run.frame,
  });
});
