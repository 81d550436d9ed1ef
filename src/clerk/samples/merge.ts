// Lays a partial value over a whole one. Objects are merged; arrays, null and everything else replace.
// Neither argument is changed.

export type DeepPartial<T> = T extends readonly unknown[]
  ? T
  : T extends object
    ? { [Key in keyof T]?: DeepPartial<T[Key]> }
    : T;

export function mergeDeep(value: unknown, over: unknown): unknown {
  if (!isObject(value) || !isObject(over)) return over;
  const names = new Set([...Object.keys(value), ...Object.keys(over)]);
  // fromEntries, since assigning to a property named __proto__ would change what the object inherits.
  return Object.fromEntries(
    [...names].map((name) => {
      if (!Object.hasOwn(over, name)) return [name, value[name]];
      return [name, Object.hasOwn(value, name) ? mergeDeep(value[name], over[name]) : over[name]];
    }),
  );
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
