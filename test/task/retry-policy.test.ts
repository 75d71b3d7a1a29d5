import { describe, expect, it } from "vitest";
import { limits } from "../../src/limits.js";
import { retryTermsOf, toTypeSettings } from "../../src/task/retry-policy.js";
import type { QueueSettings } from "../../src/task/task.js";
import { defaultQueueSettings } from "../../src/task/validate.js";

const bare = defaultQueueSettings("default", "mail");
const queue: QueueSettings = {
  ...bare,
  maxRetries: 7,
  retry: { ...bare.retry, initialBackoffMs: 700, jitter: 0.7 },
  types: {
    send_email: {
      maxRetries: 5,
      retry: { initialBackoffMs: 500, nonRetryableCodes: ["bad_address"] },
      timeoutMs: 5_000,
    },
    poll: { retry: { delaysMs: [10, 20] } },
  },
};

describe("retry settings of a new task", () => {
  it("are the task's, then its type's, then the queue's, part by part", () => {
    const given = { maxRetries: 0, retry: { initialBackoffMs: 99.2 }, timeoutMs: 1.5 };
    expect(retryTermsOf(given, "send_email", queue)).toMatchObject({
      maxRetries: 0,
      retry: { initialBackoffMs: 100, nonRetryableCodes: ["bad_address"], jitter: 0.7 },
      timeoutMs: 2,
    });
    expect(retryTermsOf({}, "send_email", queue)).toMatchObject({
      maxRetries: 5,
      retry: { initialBackoffMs: 500, jitter: 0.7, multiplier: 2 },
      timeoutMs: 5_000,
    });
    expect(retryTermsOf({}, "other", queue)).toEqual({
      maxRetries: 7,
      retry: queue.retry,
      timeoutMs: limits.attemptTimeoutMs,
    });
  });

  it("take a list of delays instead of a backoff, and a backoff instead of a list", () => {
    const polled = (retry?: object) =>
      retryTermsOf(retry ? { retry } : {}, "poll", queue).retry.delaysMs;
    expect(polled()).toEqual([10, 20]);
    expect(polled({ jitter: 0 })).toEqual([10, 20]);
    expect(polled({ backoff: "linear" })).toEqual([]);
    expect(polled({ initialBackoffMs: 5 })).toEqual([]);
    expect(polled({ delaysMs: [1.1] })).toEqual([2]);
  });

  it("mean nothing by a type that is named like a part of every object", () => {
    expect(retryTermsOf({}, "constructor", queue).maxRetries).toBe(7);
    const judged = toTypeSettings({ ["__proto__"]: { maxRetries: 1 } }, "queue.types");
    expect(Object.keys(judged)).toEqual(["__proto__"]);
    expect(retryTermsOf({}, "__proto__", { ...queue, types: judged }).maxRetries).toBe(1);
  });
});

describe("settings of types", () => {
  it.each([
    [{ "no spaces": {} }, "queue.types key"],
    [{ a: { maxRetries: 1.5 } }, "queue.types[a].max_retries"],
    [{ a: { retry: { jitter: 2 } } }, "queue.types[a].retry_policy.jitter"],
    [{ a: { timeoutMs: 0 } }, "queue.types[a].timeout"],
  ])("%j are refused by name", (types, field) => {
    expect(() => toTypeSettings(types, "queue.types")).toThrow(expect.objectContaining({ field }));
  });

  it("are at most 256", () => {
    const many = Object.fromEntries(Array.from({ length: 257 }, (_, n) => [`t${n}`, {}]));
    expect(() => toTypeSettings(many, "queue.types")).toThrow(/at most 256/);
  });
});
