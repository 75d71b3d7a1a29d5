import type { Clock } from "../clock.js";
import { Code } from "../errors.js";
import type { Channel } from "./channel.js";
import type { MethodCodec } from "./methods.js";
import { type Refusal, refusal, refusalOfStatus } from "./status.js";

export interface UnaryOptions {
  clock: Clock;
  /** Unanswered for this long, the call is given up with DEADLINE_EXCEEDED. */
  timeoutMs: number;
  signal?: AbortSignal | undefined;
}

export type UnaryOutcome<Answer> = { readonly answer: Answer } | { readonly refusal: Refusal };

/** One call on one connection. Never rejects but with the reason of the signal. */
export function callUnary<Request, Answer>(
  channel: Channel,
  codec: MethodCodec<Request, Answer>,
  request: Request,
  { clock, timeoutMs, signal }: UnaryOptions,
): Promise<UnaryOutcome<Answer>> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(signal.reason as Error);
    let late = false;
    const call = channel.client.makeUnaryRequest(
      codec.path,
      codec.serialize,
      codec.deserialize,
      request,
      channel.metadata(),
      (error, answer) => {
        timer.cancel();
        signal?.removeEventListener("abort", onAbort);
        if (signal?.aborted) return reject(signal.reason as Error);
        if (late) return resolve({ refusal: unanswered(timeoutMs) });
        if (error) return resolve({ refusal: refusalOfStatus(error) });
        resolve({ answer: answer! });
      },
    );
    const onAbort = (): void => call.cancel();
    signal?.addEventListener("abort", onAbort, { once: true });
    const timer = clock.after(timeoutMs, () => {
      late = true;
      call.cancel();
    });
  });
}

const unanswered = (ms: number): Refusal =>
  refusal(Code.deadlineExceeded, "deadline_exceeded", `no answer within ${Math.round(ms)} ms`);
