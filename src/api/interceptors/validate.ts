import { type DescMessage, type Message } from "@bufbuild/protobuf";
import { createValidator, type Violation } from "@bufbuild/protovalidate";
import type { Interceptor } from "@connectrpc/connect";
import { DroverError } from "../../errors.js";

const validator = createValidator();

/**
 * Submissions are judged by task/validate.ts, which says more and agrees with the rules in the
 * proto.
 */
const judgedElsewhere = new Set(["SubmitTask", "SubmitTasks"]);

/**
 * The rules in the proto, for unary requests. Frames of streams are checked where they are read.
 */
export const validateRequests: Interceptor = (next) => (request) => {
  if (!request.stream && !judgedElsewhere.has(request.method.name)) {
    checkRules(request.method.input, request.message);
  }
  return next(request);
};

/** Throws the first violation as a DroverError with its path. */
export function checkRules(desc: DescMessage, message: Message): void {
  const result = validator.validate(desc, message);
  if (result.kind === "error") throw result.error;
  if (result.kind === "invalid") throw violationError(result.violations[0]!);
}

function violationError(violation: Violation): DroverError {
  const field = violation.toString().split(": ", 1)[0]!;
  const isId = violation.ruleId === "string.uuid" && field.endsWith("task_id");
  const text = `${field}: ${violation.message}`;
  return new DroverError(isId ? "invalid_id" : "invalid_field", text, { field });
}
