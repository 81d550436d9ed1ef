// Lines of source code with the one that threw, coloured a little, and a link that opens the editor.

import type { VNode } from "preact";

import type { CodeFrame } from "../../api/types.ts";
import { Copy } from "./components.tsx";
import { editorUrl } from "./links.ts";
import { type Editor, editor, EDITORS } from "./preferences.ts";
import { server } from "./state.ts";

export function Frame({ frame }: { frame: CodeFrame }) {
  const { file, line, column, source, changed, savedSince } = frame;
  const place = `${file}:${line}:${column}`;
  // In a file that was saved since, this line may have been fixed or moved.
  const thrownAt = changed === true ? null : line;
  return (
    <figure class="frame">
      <figcaption>
        <Place file={file} line={line} column={column} /> <Copy text={place} what="the place" />
        {changed === true && (
          <span class="warn"> The file was saved since and is shown as it is now: other code threw.</span>
        )}
        {savedSince === true && <span class="faint"> As it was when it threw; the file was saved since.</span>}
      </figcaption>
      <pre tabIndex={0}>
        {source.map(({ number, text }) => (
          <span key={number} class={number === thrownAt ? "thrown-here" : ""}>
            <span class="line-number faint" aria-hidden="true">
              {number === thrownAt ? "▸" : " "}
              {String(number).padStart(4)}
            </span>
            {number === thrownAt && <span class="visually-hidden">Thrown here: </span>}
            {number === thrownAt ? <mark>{coloured(text)}</mark> : coloured(text)}
            {"\n"}
          </span>
        ))}
      </pre>
    </figure>
  );
}

/** A place in the code. On the machine of the code it opens the editor, which is chosen once. */
export function Place({ file, line, column }: { file: string; line: number; column?: number }) {
  const place = `${file}:${line}${column === undefined ? "" : `:${column}`}`;
  const root = server.value?.root ?? null;
  if (root === null || editor.value === "none") return <code>{place}</code>;
  if (editor.value === "ask")
    return (
      <span>
        <code>{place}</code>{" "}
        <select
          aria-label="Open places in"
          value=""
          onChange={({ currentTarget }) => {
            editor.value = currentTarget.value as Editor;
            const url = editorUrl(editor.value, root, file, line, column);
            if (url !== null) location.assign(url);
          }}
        >
          <option value="">open in…</option>
          {Object.entries(EDITORS).map(([name, label]) => (
            <option key={name} value={name}>
              {label}
            </option>
          ))}
        </select>
      </span>
    );
  const url = editorUrl(editor.value, root, file, line, column);
  if (url === null) return <code>{place}</code>;
  return (
    <a href={url} title={`Open in ${EDITORS[editor.value]}`}>
      <code>{place}</code>
    </a>
  );
}

const TOKEN =
  /(\/\/.*$|\/\*.*?\*\/)|("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|`(?:[^`\\]|\\.)*`)|\b(await|async|break|case|catch|class|const|default|do|else|export|extends|finally|for|from|function|if|import|in|instanceof|let|new|of|return|switch|throw|try|typeof|var|while|yield|null|undefined|true|false)\b/g;
const KINDS = ["faint", "good", "accent"] as const;

/** Strings, comments and keywords of one line. A glance, not a parser. */
export function coloured(line: string) {
  const parts: (string | VNode)[] = [];
  let at = 0;
  for (const match of line.matchAll(TOKEN)) {
    if (match.index > at) parts.push(line.slice(at, match.index));
    const kind = KINDS[match.slice(1).findIndex((group) => group !== undefined)];
    parts.push(
      <span key={match.index} class={kind}>
        {match[0]}
      </span>,
    );
    at = match.index + match[0].length;
  }
  return [...parts, line.slice(at)];
}
