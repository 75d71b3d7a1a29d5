import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { limits } from "../../src/limits.js";
import { afterFailure, afterLoss, afterRelease, retryDelayMs } from "../../src/task/retry.js";
import type { RetryPolicy } from "../../src/task/task.js";

const policy: RetryPolicy = {
  initialBackoffMs: 1_000,
  maxBackoffMs: 600_000,
  multiplier: 2,
  jitter: 0,
  nonRetryableCodes: ["bad_address"],
  backoff: "exponential",
  delaysMs: [],
};
const half = () => 0.5;
const error = { code: "smtp_down", retryable: true };

describe("retryDelayMs", () => {
  it.each([
    [1, 1_000],
    [2, 2_000],
    [3, 4_000],
    [10, 512_000],
    [11, 600_000],
    [5_000, 600_000],
  ])("before retry %i waits %i ms", (retry, ms) => {
    expect(retryDelayMs(policy, retry, half)).toBe(ms);
  });

  it.each([
    ["linear", [1_000, 2_000, 3_000]],
    ["fixed", [1_000, 1_000, 1_000]],
  ] as const)("a %s backoff waits %j ms", (backoff, delays) => {
    const waits = [1, 2, 3].map((retry) => retryDelayMs({ ...policy, backoff }, retry, half));
    expect(waits).toEqual(delays);
  });

  it("listed delays are waited in turn, the last one for all later retries", () => {
    const listed = { ...policy, delaysMs: [5, 70_000, 900_000], maxBackoffMs: 1 };
    const waits = [1, 2, 3, 4, 99].map((retry) => retryDelayMs(listed, retry, half));
    expect(waits).toEqual([5, 70_000, 900_000, 900_000, 900_000]);
  });

  it.each([
    [0, 800],
    [0.5, 1_000],
    [0.999_999, 1_200],
  ])("chance %d spreads 1 s by 20 % to %i ms", (chance, ms) => {
    expect(retryDelayMs({ ...policy, jitter: 0.2 }, 1, () => chance)).toBe(ms);
  });

  it("stays within the policy's jitter and the ceiling for any policy", () => {
    const anyPolicy = fc.record({
      initialBackoffMs: fc.integer({ min: 0, max: limits.backoffCeilingMs }),
      maxBackoffMs: fc.integer({ min: 0, max: limits.backoffCeilingMs }),
      multiplier: fc.double({ min: 1, max: 100, noNaN: true }),
      jitter: fc.double({ min: 0, max: 1, noNaN: true }),
    });
    const chance = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true });
    fc.assert(
      fc.property(anyPolicy, fc.integer({ min: 1, max: 1_001 }), chance, (given, retry, drawn) => {
        const full = {
          ...given,
          nonRetryableCodes: [],
          backoff: "exponential" as const,
          delaysMs: [],
        };
        const delay = retryDelayMs(full, retry, () => drawn);
        const plain = retryDelayMs({ ...full, jitter: 0 }, retry, () => drawn);
        expect(Number.isInteger(delay)).toBe(true);
        expect(delay).toBeGreaterThanOrEqual(0);
        expect(delay).toBeLessThanOrEqual(limits.backoffCeilingMs);
        expect(Math.abs(delay - plain)).toBeLessThanOrEqual(plain * given.jitter + 1);
      }),
    );
  });

  it("never shrinks from one retry to the next without jitter", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 200 }), (retry) => {
        const now = retryDelayMs(policy, retry, half);
        return retryDelayMs(policy, retry + 1, half) >= now;
      }),
    );
  });
});

describe("afterFailure", () => {
  const task = { retry: policy, retryCount: 0, maxRetries: 3 };

  it.each([
    ["retries with the backoff of the next retry", {}, error, undefined, 1_000],
    ["doubles for the second retry", { retryCount: 1 }, error, undefined, 2_000],
    ["allows the last retry", { retryCount: 2 }, error, undefined, 4_000],
    ["ends when the retries are used up", { retryCount: 3 }, error, undefined, undefined],
    ["never retries with max_retries 0", { maxRetries: 0 }, error, undefined, undefined],
    ["honours the handler's delay", {}, error, 30_000, 30_000],
    ["honours a delay of 0", {}, error, 0, 0],
    ["treats a negative delay as 0", {}, error, -5, 0],
    ["caps the handler's delay", {}, error, Infinity, limits.backoffCeilingMs],
    ["keeps the budget against the handler's delay", { retryCount: 3 }, error, 10, undefined],
    ["ends on an error that is not retryable", {}, { ...error, retryable: false }, 10, undefined],
    ["ends on an excluded code", {}, { ...error, code: "bad_address" }, undefined, undefined],
  ] as const)("%s", (_name, change, failure, retryAfterMs, expected) => {
    expect(afterFailure({ ...task, ...change }, failure, retryAfterMs, half)).toBe(expected);
  });

  it("lets a task fail at most max_retries + 1 times", () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 50 }), (maxRetries) => {
        let retryCount = 0;
        let failures = 1;
        while (
          afterFailure({ retry: policy, retryCount, maxRetries }, error, undefined, half) !==
          undefined
        ) {
          retryCount += 1;
          failures += 1;
        }
        return failures === maxRetries + 1;
      }),
    );
  });
});

describe("afterLoss", () => {
  it.each([
    [0, 0.5, { then: "pending", delayMs: 0 }],
    [1, 0, { then: "quarantine", delayMs: 500 }],
    [1, 0.5, { then: "quarantine", delayMs: 1_000 }],
    [1, 0.999_999, { then: "quarantine", delayMs: 1_500 }],
    [2, 0.5, { then: "poison", delayMs: 0 }],
    [7, 0.5, { then: "poison", delayMs: 0 }],
  ] as const)("after %i losses, chance %d: %o", (leaseLosses, chance, expected) => {
    expect(afterLoss({ leaseLosses }, () => chance)).toEqual(expected);
  });
});

describe("afterRelease", () => {
  it.each([
    [0, 0],
    [1, 0],
    [2, 1_000],
    [3, 2_000],
    [4, 4_000],
    [7, 32_000],
    [8, 60_000],
    [5_000, 60_000],
  ])("after %i releases in a row waits %i ms", (before, ms) => {
    expect(afterRelease(before)).toBe(ms);
  });
});
