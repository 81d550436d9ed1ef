// Matches event types against patterns. Imports nothing: the inspector's page uses it too.

/** Whether a pattern (`user.created`, `user.*` or `*`) matches an event type. */
export function matchesPattern(pattern: string, type: string): boolean {
  return pattern.endsWith("*") ? type.startsWith(pattern.slice(0, -1)) : pattern === type;
}
