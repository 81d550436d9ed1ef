// Parses and formats durations and times as people write them, such as "5m" and "20 min". Pure; the page uses it too.

/** Parses `"500ms"`, `"30s"`, `"5m"`, `"2h"`, `"1d"` or a number of milliseconds into milliseconds; throws on anything else. */
export function parseDuration(text: string | number): number {
  if (typeof text === "number" && Number.isFinite(text) && text >= 0) return text;
  const [, amount, unit] = /^(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)$/.exec(String(text).trim()) ?? [];
  if (!amount || !unit)
    throw new TypeError(`${JSON.stringify(text)} is not a duration; write "500ms", "30s", "5m" or "2h"`);
  return Number(amount) * { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 }[unit as "ms"];
}

/** The Unix time in milliseconds of a date (`2026-05-01T12:00Z`), or of a duration ago (`7d`); undefined of anything else. */
export function readMoment(text: string, now: number): number | undefined {
  const time = /^\d{4}-\d\d/.test(text) ? Date.parse(text) : Number.NaN;
  if (!Number.isNaN(time)) return time;
  try {
    return now - parseDuration(text);
  } catch {
    return undefined;
  }
}

/** Formats milliseconds for display: `0.4 ms`, `850 ms`, `5.2 s`, `20 min`, `12 h`, `4 d`. */
export function formatDuration(milliseconds: number): string {
  if (milliseconds < 1_000) return `${Number(milliseconds.toFixed(milliseconds < 10 ? 1 : 0))} ms`;
  if (milliseconds < 120_000) return `${Number((milliseconds / 1_000).toFixed(1))} s`;
  if (milliseconds < 7_200_000) return `${Math.round(milliseconds / 60_000)} min`;
  if (milliseconds < 172_800_000) return `${Number((milliseconds / 3_600_000).toFixed(1))} h`;
  return `${Math.round(milliseconds / 86_400_000)} d`;
}

/** Formats a Unix time in milliseconds, independent of the machine's time zone: `2026-05-01 14:03:07Z`. */
export function formatTime(milliseconds: number): string {
  return `${new Date(milliseconds).toISOString().slice(0, 19).replace("T", " ")}Z`;
}
