import { describe, expect, it } from "vitest";
import { ReleaseError, TaskFailedError } from "../../src/worker/index.js";
import type { RunningLease } from "../../src/worker/lease-table.js";
import { failed, type Outcome, succeeded, thrown } from "../../src/worker/outcome.js";

/*
 * Whatever a handler returns or throws is the end of its task. Were it one of the worker's process,
 * all that this runs would be lost with it.
 */

const lease = { key: "k".repeat(34), standing: "held", abortCause: undefined } as RunningLease;

const errorOf = (outcome: Outcome | undefined) => {
  const end = outcome?.other?.outcome;
  return end?.case === "failure" ? end.value.error : undefined;
};

const nobody = new Proxy(
  {},
  {
    get: () => {
      throw new Error("not to be read");
    },
    getPrototypeOf: () => {
      throw new Error("nor this");
    },
  },
);

describe("an error", () => {
  it.each([
    ["whose message is a list", { message: ["a", "b"] }, "[ 'a', 'b' ]"],
    ["whose message is an answer", { message: { code: 5 } }, "{ code: 5 }"],
    ["whose message is a number", { message: 404 }, "404"],
    ["without a message", { message: undefined }, "undefined"],
    ["whose stack is no text", { stack: 5 }, "oh no"],
    ["whose code is an object", { code: {} }, "oh no"],
    ["of nothing that can be read", nobody, "the handler threw what cannot be read"],
  ])("%s fails its task", (_, parts, message) => {
    const error = parts === nobody ? nobody : Object.assign(new Error("oh no"), parts);
    expect(errorOf(thrown(lease, error))).toMatchObject({ code: "handler_error", message });
  });

  it("may say wrong things of its retry only where it is made", () => {
    expect(() => new TaskFailedError("x", { retryAfterMs: Number.NaN })).toThrow(TypeError);
    expect(() => new ReleaseError({ delayMs: Infinity })).toThrow("delayMs: expected a number");
    const failure = new TaskFailedError("x", { code: 5 as never, retryAfterMs: 10 });
    expect(errorOf(thrown(lease, failure))).toMatchObject({ code: "5", message: "x" });
  });
});

it("what a handler returns and nobody can read fails its task", () => {
  expect(errorOf(succeeded("k", nobody))).toMatchObject({ code: "result_unencodable" });
  expect(errorOf(failed("k", { code: "c", message: "m" }))?.stack).toBe("");
});
