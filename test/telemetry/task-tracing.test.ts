import * as api from "@opentelemetry/api";
import { NodeSDK, tracing } from "@opentelemetry/sdk-node";
import { afterAll, beforeEach, describe, expect, it } from "vitest";
import { activeTrace } from "../../src/client/trace.js";
import { systemRandom } from "../../src/clock.js";
import { limits } from "../../src/limits.js";
import { createEvents } from "../../src/telemetry/events.js";
import { PlannedIds } from "../../src/telemetry/planned-ids.js";
import { TaskTracing } from "../../src/telemetry/trace.js";
import { parseTraceparent } from "../../src/traceparent.js";
import { createManualClock } from "../support/manual-clock.js";

const exporter = new tracing.InMemorySpanExporter();
const processor = new tracing.SimpleSpanProcessor(exporter);
const ids = new PlannedIds(systemRandom);
const sdk = new NodeSDK({
  spanProcessors: [processor],
  metricReaders: [],
  logRecordProcessors: [],
  instrumentations: [],
  idGenerator: ids,
});
sdk.start();
afterAll(() => sdk.shutdown());
beforeEach(() => exporter.reset());

const taskId = "019aa6e2-3c00-7abc-8def-0123456789ab";
const traceId = "4bf92f3577b34da6a3ce929d0e0e4736";
const producer = "00f067aa0ba902b7";
const step = { namespace: "default", queue: "default", type: "send", taskId };

function coordinator() {
  const events = createEvents();
  const made = new TaskTracing({ api, ids, events, clock: createManualClock() });
  made.subscribe();
  return { events, tracing: made };
}

/** The task is submitted on one coordinator, leased on another, and settled on a third. */
async function walk(traceContext: Readonly<Record<string, string>>) {
  const [a, b, c] = [coordinator(), coordinator(), coordinator()];
  a.events.emit("task.submitted", { ...step, traceContext, priority: 1, tookMs: 5 });
  const leased = { ...step, traceContext, attempt: 1, sessionId: "s", dispatchMs: 1 };
  b.events.emit("task.leased", { ...leased, waitedMs: 250 });
  const settled = { ...step, traceContext, attempt: 1, ranMs: 9, tookMs: 1 };
  c.events.emit("task.settled", { ...settled, status: "completed", outcome: "complete" });
  await processor.forceFlush();
  return exporter.getFinishedSpans();
}

const parentOf = (span: tracing.ReadableSpan) => span.parentSpanContext?.spanId;

describe("spans of a task", () => {
  it("fit together though three coordinators made them", async () => {
    const [submit, wait, settle] = await walk({ traceparent: `00-${traceId}-${producer}-01` });
    expect([submit!, wait!, settle!].map((span) => span.spanContext().traceId)).toEqual(
      Array.from({ length: 3 }, () => traceId),
    );
    expect(parentOf(submit!)).toBe(producer);
    expect(parentOf(wait!)).toBe(submit!.spanContext().spanId);
    expect(parentOf(settle!)).toBe(wait!.spanContext().spanId);
    expect(wait!.duration).toEqual([0, 250_000_000]);
  });

  it("name what the worker is given as its parent", async () => {
    const traceContext = { traceparent: `00-${traceId}-${producer}-01`, tracestate: "a=b" };
    const [, wait] = await walk(traceContext);
    const carried = coordinator().tracing.atLease({ id: taskId, attempt: 1, traceContext });
    expect(carried["tracestate"]).toBe("a=b");
    expect(parseTraceparent(carried)?.spanId).toBe(wait!.spanContext().spanId);
  });

  it("are not made where the producer does not sample, or names nothing", async () => {
    expect(await walk({ traceparent: `00-${traceId}-${producer}-00` })).toEqual([]);
    expect(await walk({ traceparent: "nothing" })).toEqual([]);
    expect(await walk({})).toEqual([]);
  });

  it("begin with submit for a task that came without a trace", async () => {
    const traceContext = coordinator().tracing.atSubmit(taskId, {});
    const [submit, wait] = await walk(traceContext);
    expect(submit!.spanContext().traceId).toBe(taskId.replaceAll("-", ""));
    expect(parentOf(submit!)).toBeUndefined();
    expect(parentOf(wait!)).toBe(submit!.spanContext().spanId);
    expect(parseTraceparent(traceContext)?.spanId).toBe(submit!.spanContext().spanId);
  });

  it("have ids of their own where none are planned", () => {
    const drawn = Array.from({ length: 100 }, () => ids.generateSpanId());
    expect(new Set(drawn).size).toBe(100);
    expect(drawn.every((id) => /^[0-9a-f]{16}$/.test(id))).toBe(true);
    expect(ids.generateTraceId()).toMatch(/^[0-9a-f]{32}$/);
  });
});

describe("what a client sends along", () => {
  const within = (baggage: string) => {
    const span = api.trace.getTracer("t").startSpan("caller");
    const entries = api.propagation.createBaggage({ key: { value: baggage } });
    const context = api.propagation.setBaggage(api.trace.setSpan(api.ROOT_CONTEXT, span), entries);
    return { span, sent: api.context.with(context, () => activeTrace()) };
  };

  it("is the active span with its baggage", async () => {
    const { span, sent } = within("value");
    const { spanId, traceId: ofSpan } = span.spanContext();
    expect(await sent).toEqual({ traceparent: `00-${ofSpan}-${spanId}-01`, baggage: "key=value" });
  });

  it("leaves out a baggage for which a submit would be refused", async () => {
    const { sent } = within("x".repeat(limits.traceContextLength));
    expect(Object.keys((await sent) ?? {})).toEqual(["traceparent"]);
  });

  it("is nothing without a span", async () => {
    expect(await api.context.with(api.ROOT_CONTEXT, () => activeTrace())).toBeUndefined();
  });
});
