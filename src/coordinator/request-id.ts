import { DroverError } from "../errors.js";
import { limits } from "../limits.js";
import { parseTaskId, timeOfId } from "../task/ids.js";

/**
 * The UUIDv7 that a client made for one request; undefined if it gave none. Throws a DroverError
 * that names `request_id` for what is no UUID, or too old to be a repeat.
 */
export function requestIdOf(requestId: string, now: number): string | undefined {
  if (requestId === "") return undefined;
  const id = parseTaskId(requestId);
  if (!id) {
    throw new DroverError("invalid_field", `expected a UUIDv7, got "${requestId.slice(0, 64)}"`, {
      field: "request_id",
    });
  }
  const time = timeOfId(id);
  if (Math.abs(now - time) > limits.submitIdAgeMs) {
    const agoS = Math.round((now - time) / 1000);
    const message = `request_id says it was made ${agoS} s ago; at most 600 either way count`;
    throw new DroverError("invalid_field", message, {
      field: "request_id",
      hint: "Make a fresh UUIDv7 for each task; check the client's clock.",
    });
  }
  return id;
}
