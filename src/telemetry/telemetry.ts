import type { IncomingMessage, ServerResponse } from "node:http";
import type { Service } from "../service.js";
import type { TraceContext } from "../traceparent.js";
import type { TraceCarrier } from "./events.js";
import { type Export, startExport } from "./export.js";
import { logEvents, type Logger } from "./log.js";
import { createMetrics, metricsPage, type MetricsOptions } from "./metrics.js";
import { TaskTracing } from "./trace.js";

export interface TelemetryOptions extends MetricsOptions {
  readonly coordinatorId: string;
  readonly logger: Logger;
}

/**
 * Everything that listens to a coordinator's events; nothing of it can change a decision. It
 * listens from its creation to `close`; from `start` to `stop` it also exports, where
 * OpenTelemetry's variables ask for it.
 */
export interface Telemetry extends Service {
  /** Answers GET /metrics. True: the request was for it. */
  readonly page: (request: IncomingMessage, response: ServerResponse) => boolean;
  readonly carrier: TraceCarrier;
  close(): void;
}

export function createTelemetry(options: TelemetryOptions): Telemetry {
  const { events, logger, clock, coordinatorId } = options;
  const unlog = logEvents(events, logger);
  const metrics = createMetrics(options);
  let exporting: Export | undefined;
  let tracing: TaskTracing | undefined;
  let untrace: (() => void) | undefined;
  const onError = (error: unknown) => logger.warn({ err: error }, "telemetry was not exported");
  return {
    page: metricsPage(metrics),
    carrier: {
      atSubmit: (taskId, given): TraceContext => tracing?.atSubmit(taskId, given) ?? given,
      atLease: (task): TraceContext => tracing?.atLease(task) ?? task.traceContext,
    },
    async start() {
      const names = { serviceName: "drover-coordinator", instanceId: coordinatorId };
      // Serving goes on without it.
      exporting ??= await startExport({ ...names, metrics, clock, onError }).catch(
        (error: unknown) => {
          onError(error);
          return undefined;
        },
      );
      if (!exporting?.wanted.traces) return;
      const { api, ids } = exporting;
      tracing = new TaskTracing({ api, ids, events, clock });
      untrace = tracing.subscribe();
    },
    async stop() {
      untrace?.();
      tracing = untrace = undefined;
      await exporting?.stop();
      exporting = undefined;
    },
    close() {
      metrics.stop();
      unlog();
    },
  };
}
