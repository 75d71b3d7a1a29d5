import { createServer, type IncomingMessage } from "node:http";
import type { AddressInfo } from "node:net";

/** A span as it arrived, its attributes as a plain object. */
export interface ReceivedSpan {
  readonly service: string;
  readonly name: string;
  readonly kind: number;
  readonly traceId: string;
  readonly spanId: string;
  /** "" for the root. */
  readonly parentId: string;
  readonly links: readonly { readonly traceId: string; readonly spanId: string }[];
  readonly attributes: Readonly<Record<string, unknown>>;
  readonly failed: boolean;
  /** Nanoseconds since 1970. */
  readonly start: bigint;
  readonly end: bigint;
}

export interface ReceivedMetric {
  readonly service: string;
  readonly name: string;
  readonly points: readonly {
    readonly attributes: Readonly<Record<string, unknown>>;
    readonly value: number;
  }[];
}

export interface OtlpReceiver {
  readonly url: string;
  readonly spans: ReceivedSpan[];
  /** As they came: a figure is there once for each export. */
  readonly metrics: ReceivedMetric[];
  /** Every body. */
  readonly texts: string[];
  stop(): Promise<void>;
}

interface Value {
  stringValue?: string;
  intValue?: string | number;
  doubleValue?: number;
  boolValue?: boolean;
}
type Attributes = { key: string; value: Value }[];
interface Resource {
  attributes?: Attributes;
}
interface WireSpan {
  name: string;
  kind: number;
  traceId: string;
  spanId: string;
  parentSpanId?: string;
  links?: { traceId: string; spanId: string }[];
  attributes?: Attributes;
  status?: { code?: number };
  startTimeUnixNano: string;
  endTimeUnixNano: string;
}
interface WirePoint {
  attributes?: Attributes;
  asInt?: string | number;
  asDouble?: number;
  count?: string | number;
}
interface WireMetric {
  name: string;
  [kind: string]: unknown;
}
interface Body {
  resourceSpans?: { resource?: Resource; scopeSpans: { spans: WireSpan[] }[] }[];
  resourceMetrics?: { resource?: Resource; scopeMetrics: { metrics: WireMetric[] }[] }[];
}

/** Takes OTLP over HTTP with JSON, as a collector does. */
export async function startOtlpReceiver(): Promise<OtlpReceiver> {
  const spans: ReceivedSpan[] = [];
  const metrics: ReceivedMetric[] = [];
  const texts: string[] = [];
  const server = createServer((request, response) => {
    void read(request).then((text) => {
      texts.push(text);
      const body = JSON.parse(text) as Body;
      spans.push(...spansOf(body));
      metrics.push(...metricsOf(body));
      response.writeHead(200, { "content-type": "application/json" }).end("{}");
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    spans,
    metrics,
    texts,
    stop: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

async function read(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString("utf8");
}

const plain = (attributes: Attributes = []): Record<string, unknown> =>
  Object.fromEntries(
    attributes.map(({ key, value }) => [
      key,
      value.intValue === undefined ? Object.values(value)[0] : Number(value.intValue),
    ]),
  );

const serviceOf = (resource: Resource | undefined): string =>
  String(plain(resource?.attributes)["service.name"]);

const spansOf = ({ resourceSpans = [] }: Body): ReceivedSpan[] =>
  resourceSpans.flatMap(({ resource, scopeSpans }) =>
    scopeSpans.flatMap((scope) =>
      scope.spans.map((span) => ({
        service: serviceOf(resource),
        name: span.name,
        kind: span.kind,
        traceId: span.traceId,
        spanId: span.spanId,
        parentId: span.parentSpanId ?? "",
        links: (span.links ?? []).map(({ traceId, spanId }) => ({ traceId, spanId })),
        attributes: plain(span.attributes),
        failed: span.status?.code === 2,
        start: BigInt(span.startTimeUnixNano),
        end: BigInt(span.endTimeUnixNano),
      })),
    ),
  );

const metricsOf = ({ resourceMetrics = [] }: Body): ReceivedMetric[] =>
  resourceMetrics.flatMap(({ resource, scopeMetrics }) =>
    scopeMetrics.flatMap((scope) =>
      scope.metrics.map((metric) => {
        const data = (metric["sum"] ?? metric["gauge"] ?? metric["histogram"]) as {
          dataPoints: WirePoint[];
        };
        const points = data.dataPoints.map((point) => ({
          attributes: plain(point.attributes),
          value: Number(point.asInt ?? point.asDouble ?? point.count),
        }));
        return { service: serviceOf(resource), name: metric.name, points };
      }),
    ),
  );
