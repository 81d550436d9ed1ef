// Writes the log to standard output. Never blocks and never throws, whatever its reader or disk does: lines that don't fit
// into its buffer are dropped, and their number is reported when writing works again.

import { AsyncLocalStorage } from "node:async_hooks";
import { constants, fstatSync, openSync, write, writeSync } from "node:fs";

export interface LogOutput {
  /** Takes one line, with its line break. */
  write(line: string): void;
  /** Why nothing can be written now, such as ENOSPC; undefined while only a reader pauses. */
  readonly trouble: string | undefined;
  /** Calls back when everything is written, or after a second. */
  flush(done?: () => void): void;
}

export interface LogOutputOptions {
  /** Default: standard output. */
  fd?: number;
  /** Lines are dropped when this many characters wait to be written. */
  maxLength?: number;
  /** Called once when writing begins to fail; not while a reader only pauses. */
  onFailed?: (reason: string) => void;
  /** Called when writing works again and lines were dropped meanwhile. */
  onDropped?: (count: number, reason: string) => void;
}

// A few seconds of a busy server's log.
const MAX_LENGTH = 1_048_576;
// The reader of a full pipe may continue at any moment; a full disk stays full for longer.
const RETRY_PIPE_MS = 20;
const RETRY_ERROR_MS = 500;
const FLUSH_MS = 1_000;
// Between writes, except to flush. A write in a thread costs as much as storing a delivery.
const PAUSE_MS = 10;
// When a write takes longer, another one would block as well.
const STUCK_MS = 100;
const OVERLOAD = "more came at once than is kept";

// A handler may log. A callback registered in its async context would end with the version of its code.
const asHost = AsyncLocalStorage.snapshot();

export function createLogOutput(options: LogOutputOptions = {}): LogOutput {
  const { maxLength = MAX_LENGTH, onFailed, onDropped } = options;
  const { fd, isNonBlocking } = openNonBlocking(options.fd ?? 1);
  /** Written together: one write per line would cost more than verifying a signature. */
  let lines = "";
  let isScheduled = false;
  let wroteAt = -Infinity;
  /** The text that is being written or will be retried. */
  let chunk: Buffer | undefined;
  let written = 0;
  let inFlightSince: number | undefined;
  let dropped = 0;
  let reason = OVERLOAD;
  let isFailing = false;
  const flushes = new Set<() => void>();

  function schedule() {
    if (isScheduled || chunk) return;
    isScheduled = true;
    const wait = wroteAt + PAUSE_MS - performance.now();
    asHost(() => (wait > 0 ? setTimeout(writeNext, wait) : setImmediate(writeNext)));
  }

  function writeNext() {
    isScheduled = false;
    if (chunk) return;
    wroteAt = performance.now();
    const text = lines;
    lines = "";
    // The previous chunk was written, so there is space for a line about dropped ones.
    if (dropped > 0) reportDropped();
    if (text !== "") {
      chunk = Buffer.from(text);
      written = 0;
      writeChunk();
    } else if (lines === "") endFlushes();
  }

  function reportDropped() {
    const count = dropped;
    dropped = 0;
    onDropped?.(count, reason);
    reason = OVERLOAD;
  }

  function endFlushes() {
    for (const done of flushes) done();
    flushes.clear();
  }

  function writeChunk() {
    if (!chunk) return;
    if (isNonBlocking) {
      try {
        onWritten(null, writeSync(fd, chunk, written));
      } catch (error) {
        onWritten(error as NodeJS.ErrnoException, 0);
      }
      return;
    }
    // In the thread pool, because a disk, a socket or a terminal may block.
    inFlightSince = performance.now();
    write(fd, chunk, written, chunk.length - written, null, onWritten);
  }

  function onWritten(error: NodeJS.ErrnoException | null, bytes: number) {
    inFlightSince = undefined;
    if (error) {
      const isPaused = error.code === "EAGAIN";
      reason = isPaused ? "its reader paused" : (error.code ?? error.message);
      if (!isPaused && !isFailing) onFailed?.(reason);
      isFailing ||= !isPaused;
      setTimeout(writeChunk, isPaused ? RETRY_PIPE_MS : RETRY_ERROR_MS).unref();
      return;
    }
    written += bytes;
    if (chunk && written < chunk.length) return writeChunk();
    chunk = undefined;
    isFailing = false;
    writeNext();
  }

  // The last lines before an exit often explain it.
  process.on("exit", () => {
    if (inFlightSince !== undefined && performance.now() - inFlightSince > STUCK_MS) return;
    const rest = chunk && inFlightSince === undefined ? chunk.subarray(written) : Buffer.alloc(0);
    const bytes = Buffer.concat([rest, Buffer.from(lines)]);
    try {
      for (let at = 0; at < bytes.length;) at += writeSync(fd, bytes, at);
    } catch {
      // Nothing can be reported any more.
    }
  });

  return {
    get trouble() {
      return isFailing ? reason : undefined;
    },
    write(line) {
      if (lines.length + line.length > maxLength) {
        dropped += 1;
        return;
      }
      lines += line;
      schedule();
    },
    flush(done = () => undefined) {
      if (!chunk && lines === "") return done();
      flushes.add(done);
      // Also ends the pause.
      setImmediate(writeNext);
      setTimeout(() => {
        if (flushes.delete(done)) done();
      }, FLUSH_MS);
    },
  };
}

/**
 * A pipe is opened once more: the new descriptor can be non-blocking without changing the one that other processes share.
 * Other files are written in a thread instead.
 */
function openNonBlocking(fd: number): { fd: number; isNonBlocking: boolean } {
  try {
    if (!fstatSync(fd).isFIFO()) return { fd, isNonBlocking: false };
    return { fd: openSync(`/proc/self/fd/${fd}`, constants.O_WRONLY | constants.O_NONBLOCK), isNonBlocking: true };
  } catch {
    // Not Linux, another user's pipe, or no descriptor at all.
    return { fd, isNonBlocking: false };
  }
}
