import type { IncomingMessage, ServerResponse } from "node:http";
import { logEvents, type Logger } from "./log.js";
import { createMetrics, metricsPage, type MetricsOptions } from "./metrics.js";

export interface TelemetryOptions extends MetricsOptions {
  readonly logger: Logger;
}

/** Everything that listens to a coordinator's events; nothing of it can change a decision. */
export interface Telemetry {
  /** Answers GET /metrics. True: the request was for it. */
  readonly page: (request: IncomingMessage, response: ServerResponse) => boolean;
  /** Listens no more. */
  close(): void;
}

/** Listens from now on: logs, metrics. */
export function createTelemetry(options: TelemetryOptions): Telemetry {
  const unlog = logEvents(options.events, options.logger);
  const metrics = createMetrics(options);
  return {
    page: metricsPage(metrics),
    close() {
      metrics.stop();
      unlog();
    },
  };
}
