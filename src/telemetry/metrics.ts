import type { IncomingMessage, ServerResponse } from "node:http";
import { monitorEventLoopDelay } from "node:perf_hooks";
import type { Clock } from "../clock.js";
import { EventMetrics } from "./event-metrics.js";
import type { Events } from "./events.js";
import { exposition, expositionType } from "./exposition.js";
import { GlobalCounts, type GlobalSources } from "./global-counts.js";
import { type Metric, Reading } from "./metric.js";

export interface MetricsOptions extends GlobalSources {
  readonly events: Events;
  readonly clock: Clock;
  readonly history: GlobalSources["history"] & { readonly available: boolean };
  /** Keeps transitions until history has them. */
  readonly recorder: { readonly bytes: number };
}

export interface Metrics {
  /** All figures; `refresh` first brings those up to date that come from the stores. */
  readonly all: readonly Metric[];
  refresh(): Promise<void>;
  /** The page of a scrape. */
  text(): Promise<string>;
  stop(): void;
}

/** Every figure of this coordinator. Counting begins now; reading happens when somebody looks. */
export function createMetrics(options: MetricsOptions): Metrics {
  const { events, clock, broker, history, recorder } = options;
  const counted = new EventMetrics(() => broker.available);
  const counts = new GlobalCounts(options, clock);
  const delay = watchDelay(clock);
  const unsubscribe = counted.subscribe(events);
  const all: readonly Metric[] = [
    ...counted.plain,
    ...counts.metrics,
    ...counted.own,
    new Reading(
      "drover_history_unrecorded_bytes",
      "Estimated size of what this coordinator keeps until history has it.",
      "gauge",
      () => recorder.bytes,
    ),
    {
      name: "drover_store_up",
      help: "1 while the store answers this coordinator.",
      kind: "gauge",
      *samples() {
        yield { labels: { store: "broker" }, value: Number(broker.available) };
        yield { labels: { store: "history" }, value: Number(history.available) };
      },
    },
    ...delay.metrics,
  ];
  const refresh = () => {
    delay.look();
    return counts.refresh();
  };
  return {
    all,
    refresh,
    async text() {
      await refresh();
      return exposition(all);
    },
    stop() {
      unsubscribe();
      delay.stop();
    },
  };
}

const resolutionMs = 10;
/** Scrapes closer together than this see the same window: several scrapers do not disturb it. */
const windowMs = 5_000;

/** Delay of the event loop, watched from the first look on. */
function watchDelay(clock: Clock): {
  readonly metrics: readonly Metric[];
  look(): void;
  stop(): void;
} {
  const delays = monitorEventLoopDelay({ resolution: resolutionMs });
  let since: number | undefined;
  let seen = { p99: 0, max: 0 };
  // The histogram holds the whole distance between two looks, the pause it asked for included.
  const seconds = (nanoseconds: number) => Math.max(0, nanoseconds / 1e9 - resolutionMs / 1e3);
  return {
    metrics: [
      new Reading(
        "drover_event_loop_delay_p99_seconds",
        "99th percentile of the event loop's delay since the last scrape.",
        "gauge",
        () => seen.p99,
      ),
      new Reading(
        "drover_event_loop_delay_max_seconds",
        "Longest delay of the event loop since the last scrape.",
        "gauge",
        () => seen.max,
      ),
    ],
    look() {
      const now = clock.monotonic();
      if (since !== undefined && now - since < windowMs) return;
      if (since === undefined) delays.enable();
      else if (delays.count > 0) {
        seen = { p99: seconds(delays.percentile(99)), max: seconds(delays.max) };
      }
      since = now;
      delays.reset();
    },
    stop: () => void delays.disable(),
  };
}

/** Answers GET /metrics on the HTTP door. True: the request was for it. */
export function metricsPage(
  metrics: Metrics,
): (request: IncomingMessage, response: ServerResponse) => boolean {
  return (request, response) => {
    const [path] = (request.url ?? "").split("?");
    if (path !== "/metrics" || !(request.method === "GET" || request.method === "HEAD")) {
      return false;
    }
    request.resume();
    void metrics.text().then(
      (text) => {
        response.writeHead(200, { "content-type": expositionType, "cache-control": "no-store" });
        response.end(request.method === "HEAD" ? undefined : text);
      },
      (error: unknown) => response.destroy(error as Error),
    );
    return true;
  };
}
