// Formats times and shares. Pure: the clock is an argument.

import { formatDuration } from "../../duration.ts";

const pad = (number: number, width = 2) => String(number).padStart(width, "0");

/** The reader's own clock: `14:03:07`, with the day before it when it is not today: `May 1 14:03:07`. */
export function clock(at: number, now: number, locale?: string): string {
  const date = new Date(at);
  const time = `${pad(date.getHours())}:${pad(date.getMinutes())}:${pad(date.getSeconds())}`;
  const today = new Date(now);
  if (date.toDateString() === today.toDateString()) return time;
  const options = { month: "short", day: "numeric" } as const;
  const year = date.getFullYear() === today.getFullYear() ? {} : ({ year: "numeric" } as const);
  return `${date.toLocaleDateString(locale, { ...options, ...year })} ${time}`;
}

/** To the millisecond, for comparing with logs: `2026-05-01 14:03:07.123`. */
export function exact(at: number): string {
  const date = new Date(at);
  const day = `${date.getFullYear()}-${pad(date.getMonth() + 1)}-${pad(date.getDate())}`;
  const time = `${pad(date.getHours())}:${pad(date.getMinutes())}:${pad(date.getSeconds())}`;
  return `${day} ${time}.${pad(date.getMilliseconds(), 3)}`;
}

/** The rest of a delay, to the second: `now`, `7 s`, `2:05`, `1:02:03`. */
export function countdown(until: number, now: number): string {
  const seconds = Math.ceil((until - now) / 1_000);
  if (seconds <= 0) return "now";
  if (seconds < 60) return `${seconds} s`;
  const [hours, minutes] = [Math.floor(seconds / 3_600), Math.floor(seconds / 60) % 60];
  return hours > 0 ? `${hours}:${pad(minutes)}:${pad(seconds % 60)}` : `${minutes}:${pad(seconds % 60)}`;
}

/** `just now`, `12 s ago`, `3 min ago`. */
export function ago(at: number, now: number): string {
  const passed = now - at;
  return passed < 2_000
    ? "just now"
    : `${formatDuration(passed < 120_000 ? Math.floor(passed / 1_000) * 1_000 : passed)} ago`;
}

/** `0.4 %`; below a tenth of a percent it is not rounded to nothing. */
export function percent(part: number, whole: number): string {
  if (whole === 0) return "–";
  const share = (part / whole) * 100;
  if (part > 0 && share < 0.1) return "< 0.1 %";
  return `${Number(share.toFixed(share < 10 ? 1 : 0))} %`;
}
