import { limits } from "../limits.js";
import { toTraceparent, type TraceContext } from "../traceparent.js";
import { openTelemetry } from "../transport/open-telemetry.js";

/** What a task may carry of the caller's trace, the first first. */
const keys = ["traceparent", "tracestate", "baggage"];

/**
 * The caller's active span as a task carries it. Undefined, and free, in a process without
 * OpenTelemetry.
 */
export function activeTrace(): Promise<TraceContext | undefined> | undefined {
  return openTelemetry()?.then(({ context, propagation, trace, isSpanContextValid }) => {
    const span = trace.getActiveSpan()?.spanContext();
    if (!span || !isSpanContextValid(span)) return undefined;
    const { traceId, spanId, traceFlags } = span;
    // Whatever else its propagators speak, the contract speaks W3C.
    const traceparent = toTraceparent({ traceId, spanId, sampled: (traceFlags & 1) === 1 });
    const carrier: Record<string, string> = {};
    propagation.inject(context.active(), carrier);
    return fitting({ ...carrier, traceparent });
  });
}

/** A long baggage must not make a submit fail. */
function fitting(carrier: TraceContext): TraceContext {
  const kept: Record<string, string> = {};
  let room = limits.traceContextLength;
  for (const key of keys) {
    const value = carrier[key];
    if (!value || key.length + value.length > room) continue;
    kept[key] = value;
    room -= key.length + value.length;
  }
  return kept;
}
