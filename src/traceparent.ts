/** W3C trace context of a task: traceparent and what else goes with it. */
export type TraceContext = Readonly<Record<string, string>>;

/** A span somewhere, as W3C traceparent names it. */
export interface TraceParent {
  readonly traceId: string;
  readonly spanId: string;
  readonly sampled: boolean;
}

const pattern = /^(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})/;

/** The span that a trace context names; undefined if it names none. */
export function parseTraceparent(
  context: TraceContext,
  key = "traceparent",
): TraceParent | undefined {
  const text = context[key];
  const match = text === undefined ? undefined : pattern.exec(text);
  if (!match) return undefined;
  const [, traceId = "", spanId = "", flags = ""] = match;
  return { traceId, spanId, sampled: (Number.parseInt(flags, 16) & 1) === 1 };
}

export const toTraceparent = ({ traceId, spanId, sampled }: TraceParent): string =>
  `00-${traceId}-${spanId}-${sampled ? "01" : "00"}`;

/**
 * In the trace context that a worker gets: the end of the attempt before this one, in the form of
 * traceparent.
 */
export const previousAttemptKey = "drover-previous";
