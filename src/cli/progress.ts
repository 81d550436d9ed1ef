// How far something is: a bar on a terminal, now and then a plain line anywhere else. On stderr, so that what a command
// has to say stays alone on stdout.

const WIDTH = 30;
const LINE_EVERY_MS = 2_000;

interface Stream {
  isTTY?: boolean;
  write(text: string): unknown;
}

export interface Progress {
  show(ended: number): void;
  /** Takes the bar away. */
  end(): void;
}

export function createProgress(
  total: number,
  stream: Stream = process.stderr,
  now = () => performance.now(),
  /** What is counted, when there is more than one thing. */
  name = "",
): Progress {
  const label = name && `${name}  `;
  let lastLine = now();
  return {
    show(ended) {
      if (stream.isTTY) stream.write(`\r\x1b[K${label}${drawBar(ended, total)}`);
      else if (now() - lastLine >= LINE_EVERY_MS) {
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
