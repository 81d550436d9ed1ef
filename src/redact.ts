// Finds secrets in text by their format: keys, tokens, passwords in addresses. It can't know a secret without a format.
// Pure, and linear in the text, which is untrusted and may have any size.

export const MASK = "•••";

// A JWT, keys of Clerk, Stripe and Svix, a sign-in link, a token in a URL. Every alternative begins with `\b` or a fixed
// text, so that no character is matched more than a few times.
const SECRET =
  /(?<![\w-])eyJ[\w-]{5,}\.[\w-]{5,}\.[\w-]*|\b(?:sk|rk)_(?:live|test)_\w{8,}|\bwhsec_[\w+/=]{8,}|__clerk_(?:ticket|token)(?:=[^&\s]*)?|(?<=[?&#](?:token|ticket|code|otp|access_token|secret)=)[^&\s]+/gi;
// Passwords are shorter. Without a limit, matching a list of addresses would take quadratic time.
const PASSWORD_IN_URL = /(?<=:\/\/[^\s:@/]{0,100}:)[^\s@]{1,200}(?=@)/g;

/** Whether a text contains a secret. */
export function hasSecret(text: string): boolean {
  SECRET.lastIndex = 0;
  return SECRET.test(text);
}

/** The text of an error or of a setting, without its secrets, and without the values of a query. */
export function redactText(text: string): string {
  return withoutParameters(text).replaceAll(SECRET, MASK).replaceAll(PASSWORD_IN_URL, MASK);
}

/** Drizzle puts the values of a failed query into its message: `Failed query: …\nparams: …`, before its stack or causes. */
function withoutParameters(text: string): string {
  const query = text.indexOf("Failed query: ");
  const start = query < 0 ? -1 : text.indexOf("\nparams: ", query);
  if (start < 0) return text;
  const ends = [text.indexOf("\n    at ", start), text.lastIndexOf("; caused by ")].filter((end) => end > start);
  return `${text.slice(0, start)}\nparams: ${MASK}${ends.length === 0 ? "" : text.slice(Math.min(...ends))}`;
}
