import type { Clock, Random } from "../clock.js";
import { limits } from "../limits.js";
import { fullJitter } from "../transport/backoff.js";
import { outcomeUnknown } from "../transport/status.js";
import type { UnaryPlan } from "./calls.js";
import { DroverClientError } from "./errors.js";
import type { WaitOptions } from "./surface.js";

/** One long poll; short enough that a lost coordinator is noticed. */
const pollMs = Math.min(30_000, limits.waitTaskMs);
/** A poll that came back so soon did not wait at all. */
const hastyMs = 250;
/** What an answer may take beyond the poll itself. */
const pollSlackMs = 5_000;

export interface PollingParts {
  readonly clock: Clock;
  readonly random: Random;
}

/**
 * Asks until there is an answer (not undefined), over as many long polls as it takes. While nobody
 * answers, only the end of the wait ends it: then it throws what `tooLong` makes.
 */
export async function pollUntil<T>(
  { clock, random }: PollingParts,
  ask: (pollMs: number, plan: UnaryPlan) => Promise<T | undefined>,
  { timeoutMs, signal }: WaitOptions,
  tooLong: (ms: number) => Error,
): Promise<T> {
  const endAt = clock.monotonic() + (timeoutMs ?? Infinity);
  for (;;) {
    const askedAt = clock.monotonic();
    const leftMs = Math.max(0, endAt - askedAt);
    const ended = await poll(ask, Math.min(pollMs, leftMs), leftMs, signal);
    if (ended !== undefined) return ended;
    const now = clock.monotonic();
    if (now >= endAt) throw tooLong(timeoutMs ?? 0);
    // A coordinator that stops lets its polls go at once: asking on and on would keep it busy.
    if (now - askedAt < hastyMs) await clock.sleep(fullJitter(random, 0), signal);
  }
}

async function poll<T>(
  ask: (pollMs: number, plan: UnaryPlan) => Promise<T | undefined>,
  ms: number,
  leftMs: number,
  signal: AbortSignal | undefined,
): Promise<T | undefined> {
  const answerMs = ms + pollSlackMs;
  try {
    return await ask(ms, { answerMs, timeoutMs: answerMs, ...(signal ? { signal } : {}) });
  } catch (error) {
    const away = error instanceof DroverClientError && outcomeUnknown(error.code);
    if (away && leftMs > ms) return undefined;
    throw error;
  }
}
