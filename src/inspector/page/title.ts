// The title and the icon of the tab: `(3) Bellhop acme`, so that several tabs and servers are easy to distinguish.

import { effect } from "@preact/signals";

import { openProblems } from "./problems.ts";
import { connection, health, server } from "./state.ts";

export function followTitle() {
  effect(() => {
    const { mode, project } = server.value ?? {};
    const trouble = openProblems.value ?? health.value?.runs.dead ?? 0;
    const name = ["Bellhop", project, mode === "start" ? "production" : undefined].filter(Boolean).join(" · ");
    document.title = trouble > 0 ? `(${trouble.toLocaleString("en")}) ${name}` : name;
    const link = document.querySelector<HTMLLinkElement>('link[rel="icon"]');
    if (link) link.href = iconUrl(connection.value === "lost" ? "#8a8894" : trouble > 0 ? "#c62828" : "#4f3fd0");
  });
}

/** The bell, in the colour of the server's state. Pure. */
export function iconUrl(colour: string): string {
  const svg = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16" fill="${colour}">${BELL}</svg>`;
  return `data:image/svg+xml,${encodeURIComponent(svg)}`;
}

/** A reception bell. */
export const BELL = '<path d="M7 2.5h2v1.6a5.6 5.6 0 0 1 4.9 5.6V11H2.1V9.7A5.6 5.6 0 0 1 7 4.1zM1.5 12h13v1.6h-13z"/>';
