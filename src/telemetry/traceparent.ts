import type { TraceContext } from "./events.js";

/** A span somewhere, as W3C traceparent names it. */
export interface TraceParent {
  readonly traceId: string;
  readonly spanId: string;
  readonly sampled: boolean;
}

const pattern = /^(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})/;

/** The span that a task's trace context names; undefined if it names none. */
export function parseTraceparent(context: TraceContext): TraceParent | undefined {
  const text = context["traceparent"];
  const match = text === undefined ? undefined : pattern.exec(text);
  if (!match) return undefined;
  const [, traceId = "", spanId = "", flags = ""] = match;
  return { traceId, spanId, sampled: (Number.parseInt(flags, 16) & 1) === 1 };
}

export const toTraceparent = ({ traceId, spanId, sampled }: TraceParent): string =>
  `00-${traceId}-${spanId}-${sampled ? "01" : "00"}`;
