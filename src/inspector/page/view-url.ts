// The views of the page, each as a URL that can be shared: `?state=dead&text=ada#/deliveries/msg_1`. Pure.

import { type Filter, FILTER_NAMES } from "./filter.ts";

export interface View {
  page: "deliveries" | "handlers" | "refused";
  /** The delivery that is open. */
  id: string | null;
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
  if (page === "handlers" || page === "refused") return { page, id: null, filter };
  return { page: "deliveries", id: page === "deliveries" ? decode(rest.join("/")) : null, filter };
}

/** The URL of a view, which `readView` reads back. */
export function writeView({ page, id, filter }: View): string {
  const query = new URLSearchParams();
  for (const name of FILTER_NAMES) if (filter[name]) query.set(name, filter[name]);
  const search = query.size > 0 ? `?${query}` : "";
  if (page !== "deliveries") return `/${search}#/${page}`;
  return `/${search}#/deliveries${id === null ? "" : `/${encodeURIComponent(id)}`}`;
}

function decode(text: string): string | null {
  try {
    return decodeURIComponent(text) || null;
  } catch {
    return null;
  }
}
