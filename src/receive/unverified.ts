// Reads the bodies of unverified requests, within a shared budget. When it is used up, the oldest unfinished body is
// dropped: a delivery that arrives without pauses is read before it becomes the oldest.

export interface UnverifiedBodies {
  /**
   * The whole body; `too_large` as soon as it is known to exceed `max` bytes; `dropped` when another body needed the
   * budget. After these two, answer at once and close the connection, so that Bun frees what it has read.
   * Rejects when the client closes the connection.
   */
  read(request: Request, max: number): Promise<Uint8Array | "too_large" | "dropped">;
}

/** The maximum number of unfinished bodies, and of the bytes that all of them may reach. */
export interface UnverifiedLimits {
  maxBytes: number;
  maxBodies: number;
}

// The budget of large bodies, and that of small ones: unauthenticated clients can use at most twice as much.
const MAX_BYTES = 33_554_432;
const MAX_BODIES = 1_024;
// Clerk's deliveries are rarely larger. They have their own budget, because about thirty incomplete requests of 1 MB,
// which are cheap to send, fill the other one.
const SMALL_BYTES = 65_536;

/** For the public port and the inspector, so that both share the budget. A body of `maxBodyBytes` fits into it. */
export function createUnverifiedBodies(
  maxBodyBytes: number,
  limits: UnverifiedLimits = { maxBytes: Math.max(MAX_BYTES, maxBodyBytes), maxBodies: MAX_BODIES },
): UnverifiedBodies {
  const small = createQueue(limits);
  const large = createQueue(limits);

  /** A body without a content-length counts as small until it has grown large, and then as one of maximal size. */
  async function readChunks(request: Request, max: number, body: UnfinishedBody): Promise<Uint8Array | "too_large"> {
    const reader = request.body?.getReader();
    const chunks: Uint8Array[] = [];
    const stop = () => {
      chunks.length = 0;
      // Otherwise the garbage collector frees the body, which is too slow in a flood.
      void reader?.cancel().catch(() => undefined);
    };
    const { drop } = body;
    body.drop = () => {
      stop();
      drop();
    };
    for (let size = 0; ;) {
      const { done, value } = (await reader?.read()) ?? { done: true };
      if (done) return Buffer.concat(chunks);
      size += value.byteLength;
      if (size > max) {
        stop();
        return "too_large";
      }
      chunks.push(value);
      // Bun's stream buffers about as much again.
      if (size > body.bytes && small.remove(body)) large.add(body, Math.min(2 * max, limits.maxBytes));
    }
  }

  return {
    read(request, max) {
      const declared = request.headers.get("content-length");
      // Bun ensures that a body never has more bytes than it declares.
      const bytes = declared === null ? Math.min(max, SMALL_BYTES) : Number(declared);
      if (bytes > max) return Promise.resolve("too_large");
      const queue = bytes > SMALL_BYTES ? large : small;
      return new Promise((resolve, reject) => {
        const body = { bytes, drop: () => resolve("dropped") };
        queue.add(body, bytes);
        const reading = declared === null ? readChunks(request, max, body) : readWhole(request);
        reading.then(
          (read) => {
            if (!small.remove(body)) large.remove(body);
            resolve(read);
          },
          (error: unknown) => {
            if (!small.remove(body)) large.remove(body);
            reject(error);
          },
        );
      });
    },
  };
}

interface UnfinishedBody {
  /** The size that it may reach. Bun reads a body at once and does not report its progress. */
  bytes: number;
  drop: () => void;
}

function createQueue({ maxBytes, maxBodies }: UnverifiedLimits) {
  /** Oldest first. */
  const bodies = new Set<UnfinishedBody>();
  let total = 0;

  function remove(body: UnfinishedBody): boolean {
    if (!bodies.delete(body)) return false;
    total -= body.bytes;
    return true;
  }

  return {
    add(body: UnfinishedBody, bytes: number) {
      body.bytes = bytes;
      bodies.add(body);
      total += bytes;
      for (const oldest of bodies) {
        if (total <= maxBytes && bodies.size <= maxBodies) return;
        remove(oldest);
        oldest.drop();
      }
    },
    remove,
  };
}

async function readWhole(request: Request): Promise<Uint8Array> {
  return new Uint8Array(await request.arrayBuffer());
}
