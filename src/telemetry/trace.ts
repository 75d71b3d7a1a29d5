import type * as OpenTelemetry from "@opentelemetry/api";
import type { Attributes, Context, Link, Span, SpanContext } from "@opentelemetry/api";
import type { Clock } from "../clock.js";
import {
  parseTraceparent,
  previousAttemptKey,
  toTraceparent,
  type TraceContext,
  type TraceParent,
} from "../traceparent.js";
import type { EventCatalog, EventName, Events, TraceCarrier } from "./events.js";
import { type PlannedIds, spanIdOf } from "./planned-ids.js";

type Api = typeof OpenTelemetry;

export interface TaskTracingOptions {
  readonly api: Api;
  readonly ids: PlannedIds;
  readonly events: Events;
  readonly clock: Clock;
}

interface SpanPlan {
  readonly spanId: string;
  readonly kind: number;
  readonly attributes: Attributes;
  readonly tookMs: number;
  /** Undefined: the span begins its trace. */
  readonly parentId: string | undefined;
  readonly linkId?: string | undefined;
  readonly failed?: boolean;
}

/** What the events of all steps say of a task. */
interface Step {
  readonly namespace: string;
  readonly queue: string;
  readonly type: string;
  readonly taskId: string;
  readonly traceContext: TraceContext;
  readonly attempt?: number;
}

/**
 * Spans of what coordinators do for a task, in the trace of its producer: `submit` below the
 * producer's span, below it one `wait` per attempt, below that the worker's `process` and `settle`.
 * A task without a trace begins one, named by its id. Spans are made when their step is over, from
 * its event.
 */
export class TaskTracing implements TraceCarrier {
  readonly #options: TaskTracingOptions;

  constructor(options: TaskTracingOptions) {
    this.#options = options;
  }

  subscribe(): () => void {
    return this.#options.events.subscribe((name, fields) => this.#heard(name, fields));
  }

  atSubmit(taskId: string, given: TraceContext): TraceContext {
    if (given["traceparent"] !== undefined) return given;
    const { api, ids } = this.#options;
    const traceId = taskId.replaceAll("-", "");
    const spanId = spanIdOf(taskId, "submit");
    // Only asks the sampler; the span itself is made once the task is accepted.
    const span = ids.use({ traceId, spanId }, () =>
      this.#tracer.startSpan("submit", { root: true, kind: api.SpanKind.SERVER }),
    );
    const sampled = (span.spanContext().traceFlags & api.TraceFlags.SAMPLED) !== 0;
    return { ...given, traceparent: toTraceparent({ traceId, spanId, sampled }) };
  }

  atLease({ id, attempt, traceContext }: LeasedTask): TraceContext {
    const trace = parseTraceparent(traceContext);
    if (!trace?.sampled) return traceContext;
    const from = (spanId: string): string => toTraceparent({ ...trace, spanId });
    const previous = attempt > 1 && from(spanIdOf(id, "settle", attempt - 1));
    return {
      ...traceContext,
      traceparent: from(spanIdOf(id, "wait", attempt)),
      ...(previous && { [previousAttemptKey]: previous }),
    };
  }

  get #tracer() {
    return this.#options.api.trace.getTracer("drover");
  }

  #heard(name: EventName, fields: EventCatalog[EventName]): void {
    if (name === "task.submitted") this.#submitted(fields as EventCatalog["task.submitted"]);
    else if (name === "task.leased") this.#leased(fields as EventCatalog["task.leased"]);
    else if (name === "task.settled") this.#settled(fields as EventCatalog["task.settled"]);
    else if (name === "task.cancelled") {
      this.#ended(fields as EventCatalog["task.cancelled"], "cancel", "cancelled");
    } else if (name === "task.overdue") {
      const task = fields as EventCatalog["task.overdue"];
      this.#ended(task, "overdue", task.status);
    }
  }

  #submitted(task: EventCatalog["task.submitted"]): void {
    const trace = parseTraceparent(task.traceContext);
    if (!trace?.sampled) return;
    const spanId = spanIdOf(task.taskId, "submit");
    this.#span(task, trace, "submit", {
      spanId,
      kind: this.#options.api.SpanKind.SERVER,
      parentId: trace.spanId === spanId ? undefined : trace.spanId,
      tookMs: task.tookMs,
      attributes: { "drover.task.priority": task.priority },
    });
  }

  #leased(task: EventCatalog["task.leased"]): void {
    const trace = parseTraceparent(task.traceContext);
    if (!trace?.sampled) return;
    const { taskId, attempt, waitedMs } = task;
    this.#span(task, trace, "wait", {
      spanId: spanIdOf(taskId, "wait", attempt),
      kind: this.#options.api.SpanKind.PRODUCER,
      parentId: spanIdOf(taskId, "submit"),
      linkId: attempt > 1 ? spanIdOf(taskId, "settle", attempt - 1) : undefined,
      tookMs: waitedMs,
      attributes: { "drover.session.id": task.sessionId },
    });
  }

  #settled(task: EventCatalog["task.settled"]): void {
    const trace = parseTraceparent(task.traceContext);
    if (!trace?.sampled) return;
    const { taskId, attempt, tookMs, outcome, status } = task;
    this.#span(task, trace, "settle", {
      spanId: spanIdOf(taskId, "settle", attempt),
      kind: this.#options.api.SpanKind.INTERNAL,
      parentId: spanIdOf(taskId, "wait", attempt),
      tookMs,
      attributes: { "drover.outcome": outcome, "drover.task.status": status },
      failed: outcome === "fail" || outcome === "timeout" || outcome === "lose",
    });
  }

  /** While it waited. */
  #ended(task: EventCatalog["task.cancelled"], outcome: string, status: string): void {
    const trace = parseTraceparent(task.traceContext);
    if (!trace?.sampled) return;
    this.#span(task, trace, "settle", {
      spanId: spanIdOf(task.taskId, "settle"),
      kind: this.#options.api.SpanKind.INTERNAL,
      parentId: spanIdOf(task.taskId, "submit"),
      tookMs: 0,
      attributes: { "drover.outcome": outcome, "drover.task.status": status },
    });
  }

  #span(task: Step, trace: TraceParent, step: string, plan: SpanPlan): void {
    const { api, ids, clock } = this.#options;
    const { parentId, linkId, kind, spanId } = plan;
    const endedAt = clock.now();
    const planned = parentId === undefined ? { traceId: trace.traceId, spanId } : { spanId };
    const span: Span = ids.use(planned, () =>
      this.#tracer.startSpan(
        `${step} ${task.type}`,
        {
          kind,
          startTime: endedAt - plan.tookMs,
          attributes: { ...commonAttributes(task), ...plan.attributes },
          links: linkId === undefined ? [] : [this.#linkTo(trace, linkId)],
          root: parentId === undefined,
        },
        this.#below(trace, parentId),
      ),
    );
    if (plan.failed) span.setStatus({ code: api.SpanStatusCode.ERROR });
    span.end(endedAt);
  }

  #below(trace: TraceParent, parentId: string | undefined): Context {
    const { ROOT_CONTEXT, trace: traces } = this.#options.api;
    if (parentId === undefined) return ROOT_CONTEXT;
    return traces.setSpanContext(ROOT_CONTEXT, this.#contextOf(trace, parentId));
  }

  #linkTo(trace: TraceParent, spanId: string): Link {
    return { context: this.#contextOf(trace, spanId) };
  }

  #contextOf({ traceId }: TraceParent, spanId: string): SpanContext {
    const traceFlags = this.#options.api.TraceFlags.SAMPLED;
    return { traceId, spanId, traceFlags, isRemote: true };
  }
}

type LeasedTask = Parameters<TraceCarrier["atLease"]>[0];

const commonAttributes = ({ namespace, queue, type, taskId, attempt }: Step): Attributes => ({
  "messaging.system": "drover",
  "messaging.destination.name": queue,
  "messaging.message.id": taskId,
  "drover.namespace": namespace,
  "drover.task.type": type,
  ...(attempt === undefined ? {} : { "drover.task.attempt": attempt }),
});
