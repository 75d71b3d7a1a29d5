import type * as OpenTelemetry from "@opentelemetry/api";
import type { Context, Link, Span } from "@opentelemetry/api";
import { parseTraceparent, previousAttemptKey } from "../traceparent.js";
import { openTelemetry } from "../transport/open-telemetry.js";
import type { Grant } from "./grant.js";
import { type Outcome, resultOf } from "./outcome.js";

type Api = typeof OpenTelemetry;
type Traced = Pick<Grant, "taskId" | "type" | "queue" | "attempt" | "traceContext">;

/** The span of one attempt. */
export interface ProcessSpan {
  /** Spans that `handle` makes come below this one. */
  run<T>(handle: () => Promise<T>): Promise<T>;
  /** Undefined: nobody waits for an outcome any more. */
  end(outcome: Outcome | undefined): void;
}

/**
 * Begins `process <type>` in the trace of the task. Undefined, and free, in a process without
 * OpenTelemetry.
 */
export function startProcessSpan(task: Traced): Promise<ProcessSpan> | undefined {
  return openTelemetry()?.then((api) => begin(api, task));
}

function begin(api: Api, task: Traced): ProcessSpan {
  const parent = contextOf(api, task.traceContext);
  const options = {
    kind: api.SpanKind.CONSUMER,
    links: linksOf(api, task.traceContext),
    attributes: {
      "messaging.system": "drover",
      "messaging.destination.name": task.queue,
      "messaging.message.id": task.taskId,
      "drover.task.type": task.type,
      "drover.task.attempt": task.attempt,
    },
  };
  const span = api.trace.getTracer("drover").startSpan(`process ${task.type}`, options, parent);
  return {
    run: (handle) => api.context.with(api.trace.setSpan(parent, span), handle),
    end: (outcome) => end(api, span, outcome),
  };
}

function contextOf({ propagation, trace, ...api }: Api, carrier: Traced["traceContext"]): Context {
  const extracted = propagation.extract(api.ROOT_CONTEXT, carrier);
  const parent = parseTraceparent(carrier);
  // Whatever else its propagators speak, the contract speaks W3C.
  if (!parent || trace.getSpanContext(extracted)) return extracted;
  const { traceId, spanId, sampled } = parent;
  const traceFlags = sampled ? api.TraceFlags.SAMPLED : api.TraceFlags.NONE;
  return trace.setSpanContext(extracted, { traceId, spanId, traceFlags, isRemote: true });
}

function linksOf({ TraceFlags }: Api, carrier: Traced["traceContext"]): Link[] {
  const previous = parseTraceparent(carrier, previousAttemptKey);
  if (!previous) return [];
  const { traceId, spanId } = previous;
  return [{ context: { traceId, spanId, traceFlags: TraceFlags.SAMPLED, isRemote: true } }];
}

/** Codes only: messages are the handler's, and may quote the payload. */
function end({ SpanStatusCode }: Api, span: Span, outcome: Outcome | undefined): void {
  const ended = outcome && resultOf(outcome).outcome;
  span.setAttribute("drover.outcome", ended?.case ?? "abandoned");
  if (ended?.case === "failure") {
    const code = ended.value.error?.code ?? "";
    span.setAttribute("error.type", code);
    span.setStatus({ code: SpanStatusCode.ERROR, message: code });
  }
  span.end();
}
