import type * as OpenTelemetry from "@opentelemetry/api";
import { type Clock, type Random, systemClock, systemRandom } from "../clock.js";
import { Histogram, type Metric } from "./metric.js";
import { PlannedIds } from "./planned-ids.js";

type Api = typeof OpenTelemetry;
type Env = Readonly<Record<string, string | undefined>>;

/** What OpenTelemetry's own variables ask for. */
export interface Wanted {
  readonly traces: boolean;
  readonly metrics: boolean;
}

export interface ExportOptions {
  /** Default name of the service; OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES win. */
  readonly serviceName: string;
  /** Tells processes of one service apart. */
  readonly instanceId: string;
  /** Figures to export; `refresh` brings them up to date. Default: none. */
  readonly metrics?: { readonly all: readonly Metric[]; refresh(): Promise<void> };
  /** Hears that something was not exported, at most once a minute. */
  onError(error: unknown): void;
  /** Default: the system's. */
  readonly clock?: Clock;
  readonly random?: Random;
}

export interface Export {
  readonly wanted: Wanted;
  readonly api: Api;
  readonly ids: PlannedIds;
  /** Sends what is left, at most for 2 s. */
  stop(): Promise<void>;
}

/** Longest wait at the end for a collector. */
const flushMs = 2_000;
const errorsEveryMs = 60_000;
const requestMs = "3000";

export function wantedExport(env: Env): Wanted {
  if (env["OTEL_SDK_DISABLED"]?.trim().toLowerCase() === "true") return nothing;
  const wants = (signal: "TRACES" | "METRICS"): boolean => {
    const exporter = env[`OTEL_${signal}_EXPORTER`]?.trim();
    if (exporter) return exporter !== "none";
    return Boolean(
      env["OTEL_EXPORTER_OTLP_ENDPOINT"] || env[`OTEL_EXPORTER_OTLP_${signal}_ENDPOINT`],
    );
  };
  return { traces: wants("TRACES"), metrics: wants("METRICS") };
}
const nothing: Wanted = { traces: false, metrics: false };

/**
 * Starts OpenTelemetry's SDK for this process, where its variables ask for it; else undefined, and
 * nothing of it is even loaded. Exporters keep bounded queues and drop what does not fit: a
 * collector that is away stops nobody.
 */
export async function startExport(options: ExportOptions): Promise<Export | undefined> {
  const { clock = systemClock, random = systemRandom, metrics } = options;
  const wanted = wantedExport(process.env);
  if (!wanted.traces && !wanted.metrics) return undefined;
  // A request under way keeps the process alive: its end must not wait the usual 10 s.
  process.env["OTEL_EXPORTER_OTLP_TIMEOUT"] ??= requestMs;
  const api = await import("@opentelemetry/api");
  const { NodeSDK, core, resources } = await import("@opentelemetry/sdk-node");
  const ids = new PlannedIds(random);
  const named = resources.resourceFromAttributes({
    "service.name": options.serviceName,
    "service.instance.id": options.instanceId,
  });
  const sdk = new NodeSDK({
    resource: resources.defaultResource().merge(named),
    // The others tell command lines and owners, which are nobody's business.
    resourceDetectors: [resources.envDetector, resources.hostDetector],
    instrumentations: [],
    logRecordProcessors: [],
    idGenerator: ids,
    ...(wanted.traces ? {} : { spanProcessors: [] }),
    ...(wanted.metrics && metrics ? {} : { metricReaders: [] }),
  });
  core.setGlobalErrorHandler(sparingly(clock, (error) => options.onError(error)));
  sdk.start();
  if (wanted.metrics && metrics) observe(api, metrics);
  return {
    wanted,
    api,
    ids,
    async stop() {
      const enough = new AbortController();
      const patience = clock.sleep(flushMs, enough.signal).catch(() => undefined);
      await Promise.race([sdk.shutdown().catch(() => undefined), patience]);
      enough.abort();
    },
  };
}

function sparingly(clock: Clock, fn: (error: unknown) => void): (error: unknown) => void {
  let saidAt = -Infinity;
  return (error) => {
    if (clock.monotonic() - saidAt < errorsEveryMs) return;
    saidAt = clock.monotonic();
    fn(error);
  };
}

/** The figures of the scrape as instruments, read when an export is due. */
function observe(api: Api, metrics: NonNullable<ExportOptions["metrics"]>): void {
  const meter = api.metrics.getMeter("drover");
  const instruments = new Map<Metric, ReturnType<typeof meter.createObservableGauge>>();
  for (const metric of metrics.all) {
    const { name, help: description } = metric;
    if (metric instanceof Histogram) {
      const advice = { explicitBucketBoundaries: [...metric.bounds] };
      const histogram = meter.createHistogram(name, { description, advice });
      metric.tap = (value, labels) => histogram.record(value, labels);
    } else if (metric.kind === "counter") {
      instruments.set(metric, meter.createObservableCounter(name, { description }));
    } else {
      instruments.set(metric, meter.createObservableGauge(name, { description }));
    }
  }
  meter.addBatchObservableCallback(
    async (result) => {
      await metrics.refresh();
      for (const [metric, instrument] of instruments) {
        for (const { labels, value } of metric.samples()) {
          if (typeof value === "number") result.observe(instrument, value, labels);
        }
      }
    },
    [...instruments.values()],
  );
}
