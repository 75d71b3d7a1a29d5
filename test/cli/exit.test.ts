import { describe, expect, it } from "vitest";
import { Exit, exitCodeOf, explain } from "../../src/cli/exit.js";
import { DroverClientError } from "../../src/client/index.js";
import { loadConfig } from "../../src/config.js";
import { Code, DroverError } from "../../src/errors.js";

const refusal = (code: Code, id: string, message: string, more: object = {}): DroverClientError =>
  new DroverClientError({
    code,
    id,
    message,
    field: undefined,
    hint: undefined,
    retryAfterMs: undefined,
    status: undefined,
    ...more,
  });

const thrownBy = (act: () => unknown): unknown => {
  try {
    return act();
  } catch (error) {
    return error;
  }
};

describe("exit codes", () => {
  it.each([
    [Code.invalidArgument, Exit.usage],
    [Code.notFound, Exit.notFound],
    [Code.alreadyExists, Exit.refused],
    [Code.failedPrecondition, Exit.refused],
    [Code.aborted, Exit.refused],
    [Code.unimplemented, Exit.refused],
    [Code.unavailable, Exit.unavailable],
    [Code.deadlineExceeded, Exit.unavailable],
    [Code.internal, Exit.defect],
    [Code.unknown, Exit.defect],
  ])("gRPC status %i ends with %i", (code, exit) => {
    expect(exitCodeOf(refusal(code, "x", "y"))).toBe(exit);
  });

  it("an overloaded coordinator is worth another try, what is too large is not", () => {
    const overloaded = refusal(Code.resourceExhausted, "overloaded", "full", { retryAfterMs: 900 });
    expect(exitCodeOf(overloaded)).toBe(Exit.unavailable);
    expect(explain(overloaded, {})).toContain("Retry after 1 s.");
    expect(exitCodeOf(refusal(Code.resourceExhausted, "message_too_large", "big"))).toBe(
      Exit.refused,
    );
  });

  it("ports in use and stores that are away are no defects", () => {
    const inUse = Object.assign(new Error("listen EADDRINUSE"), { code: "EADDRINUSE" });
    expect(exitCodeOf(inUse)).toBe(Exit.refused);
    const away = Object.assign(new AggregateError([new Error("connect ::1"), new Error("b")]), {
      code: "ECONNREFUSED",
    });
    expect(exitCodeOf(away)).toBe(Exit.unavailable);
    expect(explain(away, {})).toContain("drover: connect ::1; b\n");
  });

  it("anything else is a defect", () => {
    expect(exitCodeOf(new Error("x"))).toBe(Exit.defect);
    expect(exitCodeOf("x")).toBe(Exit.defect);
    expect(exitCodeOf(new TypeError("undefined is not a function"))).toBe(Exit.defect);
  });
});

describe("errors for people", () => {
  it("say what happened, where, and how to mend it, in two lines", () => {
    const error = new DroverError("task_not_found", "no such task", { field: "task_id" });
    expect(explain(error, {})).toBe(
      "drover: task_id: no such task (task_not_found)\n" +
        "  Check the id; finished tasks are kept for their retention only.",
    );
  });

  it("name a field once", () => {
    const error = refusal(Code.invalidArgument, "invalid_field", "task.priority: 0 to 3", {
      field: "task.priority",
    });
    expect(explain(error, {})).toBe("drover: task.priority: 0 to 3 (invalid_field)");
  });

  it("tell where to look when nobody answers", () => {
    expect(explain(refusal(Code.unavailable, "unavailable", "no connection"), {})).toMatch(
      /^drover: no connection \(unavailable\)\n {2}.*drover dev.*DROVER_ADDR/,
    );
  });

  it("wrong settings are usage, and named", () => {
    const error = thrownBy(() => loadConfig({ env: {}, flags: { grpc_prot: 1 } as object }));
    expect(exitCodeOf(error)).toBe(Exit.usage);
    expect(explain(error, {})).toContain('did you mean "grpc_port"?');
  });

  it("show no stack unless they are asked to", () => {
    const error = new Error("broken", { cause: new Error("deep down") });
    expect(explain(error, {})).toBe(
      "drover: broken\n  This is a defect in Drover; DROVER_DEBUG=1 shows where.",
    );
    expect(explain(error, { DROVER_DEBUG: "1" })).toMatch(/ {4}at .*exit\.test[\s\S]*deep down/);
  });
});
