import type { CallHeaders } from "../auth/open.js";
import type { TaskDraft } from "../task/draft.js";
import { parseTraceparent } from "../traceparent.js";

const stateLength = 512;

/**
 * A task without a trace context takes that of the call it came with, as instrumented HTTP and gRPC
 * clients send it.
 */
export function withCallerTrace(draft: TaskDraft, headers: CallHeaders): TaskDraft {
  const traceparent = headers.get("traceparent");
  if (traceparent === null || Object.keys(draft.traceContext).length > 0) return draft;
  if (traceparent.length > stateLength || !parseTraceparent({ traceparent })) return draft;
  const state = headers.get("tracestate");
  const tracestate = state && state.length <= stateLength / 2 ? { tracestate: state } : {};
  return { ...draft, traceContext: { traceparent, ...tracestate } };
}
