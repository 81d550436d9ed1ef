// Shows progress on stderr, so that stdout has only the command's result: a bar on a terminal, elsewhere a line every 2
// s.

const WIDTH = 30;
const LINE_INTERVAL_MS = 2_000;

interface Stream {
  isTTY?: boolean;
  write(text: string): unknown;
}

export interface Progress {
  show(ended: number): void;
  /** Removes the bar. */
  end(): void;
}

export function createProgress(
  total: number,
  stream: Stream = process.stderr,
  now = () => performance.now(),
  /** Labels the bar when a command shows several. */
  name = "",
): Progress {
  const label = name && `${name}  `;
  let lastLine = now();
  return {
    show(ended) {
      if (stream.isTTY) stream.write(`\r\x1b[K${label}${drawBar(ended, total)}`);
      else if (now() - lastLine >= LINE_INTERVAL_MS) {
        lastLine = now();
        stream.write(`${label}${count(ended, total)}\n`);
      }
    },
    end() {
      if (stream.isTTY) stream.write("\r\x1b[K");
    },
  };
}

/** `[███████████████░░░░░░░░░░░░░░░]  50 %  10 of 20` */
export function drawBar(ended: number, total: number): string {
  const part = total === 0 ? 1 : Math.min(1, ended / total);
  const full = Math.floor(part * WIDTH);
  const percent = String(Math.floor(part * 100)).padStart(3);
  return `[${"█".repeat(full)}${"░".repeat(WIDTH - full)}] ${percent} %  ${count(ended, total)}`;
}

function count(ended: number, total: number): string {
  return `${ended.toLocaleString("en")} of ${total.toLocaleString("en")}`;
}
