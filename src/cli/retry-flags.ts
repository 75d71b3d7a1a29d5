import { type Command, InvalidArgumentError, Option } from "commander";
import type { Backoff, RetryPolicy } from "../client/index.js";
import { limits } from "../limits.js";
import { decimal, duration, several, whole } from "./arguments.js";
import { given } from "./parts.js";

export interface RetryFlags {
  readonly maxRetries?: number;
  readonly backoff?: Backoff;
  readonly initialBackoff?: number;
  readonly maxBackoff?: number;
  readonly multiplier?: number;
  readonly jitter?: number;
  readonly retryDelays?: readonly number[];
  readonly nonRetryable?: readonly string[];
}

/** The options of everything that has retries: a task, a type in a queue, a queue. */
export function retryOptions(command: Command): Command {
  const kinds: readonly Backoff[] = ["exponential", "linear", "fixed"];
  return command
    .option("--max-retries <n>", "after failures of the handler", whole(0, limits.maxRetriesMax))
    .addOption(new Option("--backoff <kind>", "growth of the wait").choices(kinds))
    .option("--initial-backoff <duration>", "wait before the first retry", duration)
    .option("--max-backoff <duration>", "longest wait before a retry", duration)
    .option("--multiplier <number>", "of an exponential backoff, 1 to 10", decimal(1, 10))
    .option("--jitter <share>", "spread of the wait, 0 to 1", decimal(0, 1))
    .option("--retry-delays <list>", "the waits themselves, e.g. 1s,10s,1m", durations)
    .option("--non-retryable <code>", "error code that ends a task; may be given again", several);
}

/** Undefined: none of them was given. */
export function retryPolicyOf(flags: RetryFlags): RetryPolicy | undefined {
  const policy: RetryPolicy = given({
    backoff: flags.backoff,
    initialBackoffMs: flags.initialBackoff,
    maxBackoffMs: flags.maxBackoff,
    multiplier: flags.multiplier,
    jitter: flags.jitter,
    delaysMs: flags.retryDelays,
    nonRetryableCodes: flags.nonRetryable,
  });
  return Object.keys(policy).length > 0 ? policy : undefined;
}

/**
 * A policy with what is given now. A list of waits stands instead of a backoff, so the newer word
 * takes the older one away.
 */
export function changedPolicy(before: RetryPolicy, change: RetryPolicy): RetryPolicy {
  const grows = change.backoff ?? change.initialBackoffMs ?? change.multiplier;
  const { delaysMs, ...rest } = before;
  return { ...rest, ...(grows === undefined && given({ delaysMs })), ...change };
}

function durations(text: string): readonly number[] {
  const all = text.split(",").map((one) => duration(one.trim()));
  if (all.length <= limits.retryDelays) return all;
  throw new InvalidArgumentError(`Expected at most ${limits.retryDelays} durations.`);
}
