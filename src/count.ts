// Formats numbers of things. Pure; the page uses it too.

/** `1,234 deliveries`, `1 delivery`. */
export function count(number: number, one: string, many = `${one}s`): string {
  return `${number.toLocaleString("en")} ${number === 1 ? one : many}`;
}
