import type { Channel } from "./channel.js";
import type { MethodCodec } from "./methods.js";
import { type Refusal, refusalOfStatus } from "./status.js";

/** Thrown where a stream ends otherwise than in order. */
export class StreamRefused extends Error {
  readonly refusal: Refusal;

  constructor(refusal: Refusal) {
    super(refusal.message);
    this.refusal = refusal;
  }
}

/**
 * The answers of one call, read as fast as they are taken: what is not taken waits at the server.
 * Throws StreamRefused, or the reason of the signal.
 */
export async function* callServerStream<Request, Answer>(
  channel: Channel,
  codec: MethodCodec<Request, Answer>,
  request: Request,
  signal: AbortSignal,
): AsyncGenerator<Answer> {
  signal.throwIfAborted();
  const call = channel.client.makeServerStreamRequest(
    codec.path,
    codec.serialize,
    codec.deserialize,
    request,
    channel.metadata(),
  );
  const onAbort = (): void => call.cancel();
  signal.addEventListener("abort", onAbort, { once: true });
  try {
    for await (const answer of call) yield answer as Answer;
  } catch (error) {
    signal.throwIfAborted();
    throw new StreamRefused(refusalOfStatus(error as object));
  } finally {
    signal.removeEventListener("abort", onAbort);
    call.cancel();
    // A cancelled call ends with an error that nobody needs any more.
    call.on("error", () => undefined);
  }
}
