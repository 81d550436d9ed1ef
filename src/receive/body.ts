// The bytes of a request, as they came and never more than allowed.

/**
 * Reads the whole body, or returns null as soon as it is known to be larger than `max` bytes.
 * Rejects when the client goes away in the middle. Bun drops what is not read, without keeping it.
 */
export async function readBody(request: Request, max: number): Promise<Uint8Array | null> {
  const declared = request.headers.get("content-length");
  // Bun has checked it: a body never has more bytes than it declares.
  if (declared !== null) return Number(declared) > max ? null : new Uint8Array(await request.arrayBuffer());

  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of request.body ?? []) {
    size += chunk.byteLength;
    if (size > max) return null;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}
