import { systemRandom } from "../../src/clock.js";
import type { TaskOptions } from "../../src/client/index.js";
import type { Mix } from "./orders.js";

/** The first is that of tasks that are all alike. */
export const typesOf = (count = 1): string[] =>
  Array.from({ length: count }, (_, n) => (n === 0 ? "noop" : `noop-${n}`));

const hex = (bytes: number): string => Buffer.from(systemRandom.bytes(bytes)).toString("hex");

const usual = { maxRetries: 5, attemptTimeoutMs: 30_000 };

export function ownOptions(own: Mix["own"]): TaskOptions {
  if (own === "nothing") return {};
  if (own === "options") return usual;
  return { traceContext: { traceparent: `00-${hex(16)}-${hex(8)}-01` } };
}
