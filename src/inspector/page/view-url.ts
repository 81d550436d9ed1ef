// The views of the page, each as a URL that can be shared: `?state=dead&text=ada#/deliveries/msg_1`. Pure.

import { type Filter, FILTER_NAMES } from "./filter.ts";

export const PAGES = ["problems", "deliveries", "handlers", "refused"] as const;

export interface View {
  /** `home` is the list of problems when there are any, else the deliveries. */
  page: "home" | (typeof PAGES)[number] | "person";
  /** The delivery that is open; in the view of a person, their id. */
  id: string | null;
  /** The problem whose deliveries are shown, in the view of problems. */
  problem: string | null;
  filter: Filter;
}

/** Reads a URL and ignores unknown parameters. */
export function readView({ search, hash }: { search: string; hash: string }): View {
  const query = new URLSearchParams(search);
  const filter: Filter = {};
  for (const name of FILTER_NAMES) {
    const value = query.get(name)?.trim();
    if (value) filter[name] = value;
  }
  const [page, ...rest] = hash.replace(/^#?\/?/, "").split("/");
  const [first = null, second = null] = rest.map(decode);
  if (page === "handlers" || page === "refused") return { page, id: null, problem: null, filter };
  if (page === "person" && first !== null) return { page, id: first, problem: null, filter };
  if (page === "problems") return { page, id: second, problem: first, filter };
  if (page === "deliveries")
    return { page, id: rest.length === 0 ? null : decode(rest.join("/")), problem: null, filter };
  return { page: Object.keys(filter).length > 0 ? "deliveries" : "home", id: null, problem: null, filter };
}

/** The URL of a view, which `readView` reads back. */
export function writeView({ page, id, problem, filter }: View): string {
  const query = new URLSearchParams();
  for (const name of FILTER_NAMES) if (filter[name]) query.set(name, filter[name]);
  const search = query.size > 0 ? `?${query}` : "";
  if (page === "home") return `/${search}`;
  const parts = page === "problems" ? [problem, problem && id] : [id];
  return `/${search}#/${[page, ...parts.filter((part) => part !== null).map(encodeURIComponent)].join("/")}`;
}

function decode(text: string): string | null {
  try {
    return decodeURIComponent(text) || null;
  } catch {
    return null;
  }
}
