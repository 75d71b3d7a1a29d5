import { setMaxListeners } from "node:events";
import type { Clock, Random } from "../clock.js";
import { Code } from "../errors.js";
import { fullJitter } from "../transport/backoff.js";
import type { Hold } from "../transport/hold.js";
import type { MethodCodec } from "../transport/methods.js";
import { outcomeUnknown, type Refusal } from "../transport/status.js";
import { callUnary } from "../transport/unary.js";
import type { ChannelPool } from "./channel-pool.js";
import { clientClosed, DroverClientError } from "./errors.js";

export interface CallOptions {
  /** Gives the call up; it rejects with the signal's reason. */
  signal?: AbortSignal;
  /** All tries together, in ms. Default 30,000. */
  timeoutMs?: number;
}

export interface UnaryPlan extends CallOptions {
  /** False: an unknown outcome is not repeated, as a second call might act again. Default true. */
  repeat?: boolean;
  /** Longest wait for one answer. Default 10,000. */
  answerMs?: number;
}

export interface CallsOptions {
  clock: Clock;
  random: Random;
  pool: ChannelPool;
  hold: Hold;
}

const defaultTimeoutMs = 30_000;
const defaultAnswerMs = 10_000;

type Try<Answer> =
  | { readonly answer: Answer }
  | { readonly refusal: Refusal; readonly sent: boolean };

/** Unary calls that survive the loss of a coordinator. */
export class Calls {
  readonly #options: CallsOptions;
  readonly #closing = new AbortController();
  #open = 0;

  constructor(options: CallsOptions) {
    this.#options = options;
    // Every call under way listens to it.
    setMaxListeners(0, this.#closing.signal);
  }

  /** Throws a DroverClientError, or the reason of the signal. */
  async unary<Request, Answer>(
    codec: MethodCodec<Request, Answer>,
    request: Request,
    plan: UnaryPlan = {},
  ): Promise<Answer> {
    if (this.#closing.signal.aborted) throw clientClosed();
    const signal = plan.signal
      ? AbortSignal.any([plan.signal, this.#closing.signal])
      : this.#closing.signal;
    this.#open += 1;
    this.#options.hold.take();
    try {
      return await this.#tries(codec, request, { ...plan, signal });
    } finally {
      this.#open -= 1;
      if (this.#open === 0) this.#options.hold.release();
    }
  }

  close(): void {
    this.#closing.abort(clientClosed());
  }

  async #tries<Request, Answer>(
    codec: MethodCodec<Request, Answer>,
    request: Request,
    plan: UnaryPlan & { signal: AbortSignal },
  ): Promise<Answer> {
    const { clock } = this.#options;
    const endAt = clock.monotonic() + (plan.timeoutMs ?? defaultTimeoutMs);
    for (let failures = 0; ; failures += 1) {
      const leftMs = endAt - clock.monotonic();
      const tried = await this.#once(codec, request, plan, leftMs);
      if ("answer" in tried) return tried.answer;
      const waitMs = this.#waitBefore(tried, plan.repeat !== false, failures);
      if (waitMs === undefined || clock.monotonic() + waitMs >= endAt) {
        throw new DroverClientError(tried.refusal);
      }
      await clock.sleep(waitMs, plan.signal);
    }
  }

  async #once<Request, Answer>(
    codec: MethodCodec<Request, Answer>,
    request: Request,
    { signal, answerMs = defaultAnswerMs }: UnaryPlan,
    leftMs: number,
  ): Promise<Try<Answer>> {
    const { clock, pool } = this.#options;
    const acquired = await pool.acquire(signal);
    if ("refusal" in acquired) return { refusal: acquired.refusal, sent: false };
    const timeoutMs = Math.min(answerMs, leftMs);
    const { channel } = acquired;
    const outcome = await callUnary(channel, codec, request, { clock, timeoutMs, signal });
    if ("answer" in outcome) return outcome;
    if (outcomeUnknown(outcome.refusal.code)) pool.leave(channel);
    return { refusal: outcome.refusal, sent: true };
  }

  /** Undefined: trying again will not help, or may do harm. */
  #waitBefore(
    tried: { refusal: Refusal; sent: boolean },
    repeat: boolean,
    failures: number,
  ): number | undefined {
    const { code, retryAfterMs } = tried.refusal;
    const jitter = fullJitter(this.#options.random, failures);
    if (outcomeUnknown(code))
      return repeat || !tried.sent ? (retryAfterMs ?? 0) + jitter : undefined;
    if (code === Code.resourceExhausted && retryAfterMs !== undefined) return retryAfterMs + jitter;
    return undefined;
  }
}
