import { describe, expect, test } from "bun:test";

import { TypeGuard } from "@sinclair/typebox";

import { generate } from "../../scripts/generate-schemas.ts";
import { eventNames } from "../../src/clerk/events.ts";
import { dataSchemas } from "../../src/clerk/generated/schemas.ts";
import { officialSpecification, withoutOfficial } from "./official.ts";

const schemasFile = new URL("../../src/clerk/generated/schemas.ts", import.meta.url);

test("every event has a schema for its data", () => {
  expect(Object.keys(dataSchemas)).toEqual([...eventNames]);
  for (const schema of Object.values(dataSchemas)) expect(TypeGuard.IsSchema(schema)).toBe(true);
});

test.skipIf(withoutOfficial)("schemas.ts is the generator's output for Clerk's specification", async () => {
  const specification = await officialSpecification();
  expect(await formatted(generate(specification))).toBe(await Bun.file(schemasFile).text());
});

describe("the generator", () => {
  test("keeps required, nullable, enum and additional properties", () => {
    expect(dataOf("type: object\nrequired: [a]\nproperties: { a: { type: string }, b: { type: integer } }")).toBe(
      'Type.Object({ "a": Type.String(), "b": Type.Optional(Type.Integer()), })',
    );
    expect(dataOf("type: string\nnullable: true")).toBe("nullable(Type.String())");
    expect(dataOf("type: string\nenum: [a, b]")).toBe('oneOf("a", "b")');
    expect(dataOf("type: string\nenum: [a, b]\nx-speakeasy-unknown-values: allow")).toBe("Type.String()");
    expect(dataOf("type: object\nadditionalProperties: { type: number }")).toBe(
      "Type.Object({  }, { additionalProperties: Type.Number() })",
    );
  });

  test("combines oneOf, anyOf and allOf", () => {
    expect(dataOf("type: array\nitems: { oneOf: [{ type: string }, { type: boolean }] }")).toBe(
      "Type.Array(Type.Union([Type.String(), Type.Boolean()]))",
    );
    expect(dataOf("allOf: [{ type: string }]\nnullable: true")).toBe("nullable(Type.String())");
    expect(dataOf("type: object\nproperties: { a: {} }\nanyOf: [{ required: [a] }, { required: [b] }]")).toBe(
      'Type.Intersect([Type.Union([Type.Object({ "a": Type.Unknown(), }), Type.Object({ "b": Type.Unknown(), })]), ' +
        'Type.Object({ "a": Type.Optional(Type.Unknown()), })])',
    );
  });

  test("declares a component before its first use, and a recursive one one level deep", () => {
    const text = generate(
      specification(
        "$ref: '#/components/schemas/Tree'",
        "Tree: { properties: { left: { $ref: '#/components/schemas/Tree' } } }",
      ),
    );
    expect(text).toContain('const Tree = Type.Object({\n"left": Type.Optional(Type.Unknown()),\n});');
    expect(text).toContain('"test.happened": Tree,');
  });

  test("throws on an event without data and on an unresolved reference, with their names", () => {
    expect(() => generate(specification("$ref: '#/components/schemas/Gone'"))).toThrow("schemas/Gone");
    expect(() => generate(specification("type: string").replace("data:", "date:"))).toThrow("test.happened");
  });

  test("prints its usage when it is run without a specification", async () => {
    const script = Bun.fileURLToPath(new URL("../../scripts/generate-schemas.ts", import.meta.url));
    await using child = Bun.spawn([process.execPath, script], { stdout: "ignore", stderr: "pipe" });
    expect(await child.stderr.text()).toContain("bun run schemas webhooks-2025-04-15.yml");
    expect(await child.exited).toBe(1);
  });
});

/** The expression that the generator emits for a schema. */
function dataOf(schema: string): string {
  const match = /"test\.happened": ([^]*?),\n\};/.exec(generate(specification(schema)));
  return match![1]!.replaceAll("\n", " ");
}

function specification(data: string, components = "{}"): string {
  const indented = data.replaceAll("\n", "\n                  ");
  return `
x-webhooks:
  test.happened:
    post:
      requestBody:
        content:
          application/json:
            schema:
              properties:
                data:
                  ${indented}
components:
  schemas:
    ${components}
`;
}

async function formatted(source: string): Promise<string> {
  const root = Bun.fileURLToPath(new URL("../../", import.meta.url));
  await using child = Bun.spawn([process.execPath, "fmt", "--stdin-filepath=src/clerk/generated/schemas.ts"], {
    cwd: root,
    stdin: Buffer.from(source),
    stdout: "pipe",
  });
  return await child.stdout.text();
}
