// Finds the name that a person meant. Pure.

import { distance } from "fastest-levenshtein";

/**
 * The nearest of `candidates` to a misspelled name; undefined if none is near. Ignores case, `_` and `-`, so
 * `organization_membership.created` is found. Beyond that, up to a third of the letters may be wrong, missing or extra.
 */
export function suggest(name: string, candidates: readonly string[]): string | undefined {
  const target = normalize(name);
  let nearest: string | undefined;
  let limit = Math.floor(target.length / 3) + 1;
  for (const candidate of candidates) {
    const wanted = normalize(candidate);
    if (Math.abs(wanted.length - target.length) >= limit) continue;
    // A swap of two letters counts as two edits. Without the half, `session.reovked` would be as near to
    // `session.removed` as to `session.revoked`.
    const edits = distance(target, wanted) - (sorted(target) === sorted(wanted) ? 0.5 : 0);
    if (edits >= limit) continue;
    nearest = candidate;
    limit = edits;
  }
  return nearest;
}

/** Whether one letter is wrong, missing or extra, or two letters are swapped. */
export function isTypo(name: string, meant: string): boolean {
  const edits = distance(name, meant);
  return edits === 1 || (edits === 2 && sorted(name) === sorted(meant));
}

/** The end of a sentence about an unknown name: `; did you mean user.created?`, or `otherwise` when no name is near. */
export function didYouMean(name: string, candidates: readonly string[], otherwise = ""): string {
  const nearest = suggest(name, candidates);
  return nearest === undefined ? otherwise : `; did you mean ${nearest}?`;
}

function normalize(name: string): string {
  return name.toLowerCase().replaceAll(/[_\s-]/g, "");
}

function sorted(text: string): string {
  return text.split("").toSorted().join("");
}
