import type { z } from "zod";
import { permanent } from "./sdk.js";

/**
 * Reads a payload by its schema. A payload that does not fit fails the task for good, naming every
 * field at fault: it will not fit at the next attempt either. Values are not repeated in the
 * message, they may be private.
 */
export function readPayload<Schema extends z.ZodType>(
  schema: Schema,
  payload: unknown,
): z.output<Schema> {
  const read = schema.safeParse(payload);
  if (read.success) return read.data;
  const faults = read.error.issues.map((issue) => {
    const field = ["payload", ...issue.path.map(String)].join(".");
    return `${field}: ${issue.message}`;
  });
  throw permanent("invalid_payload", faults.join("; "));
}
