import { Distribution, type Labels, type Metric } from "./metric.js";

/** What `exposition` is. */
export const expositionType = "text/plain; version=0.0.4; charset=utf-8";

/** Metrics in the text format of Prometheus: HELP and TYPE of each, also of one without a value. */
export function exposition(metrics: readonly Metric[]): string {
  const lines: string[] = [];
  for (const metric of metrics) {
    lines.push(`# HELP ${metric.name} ${escapeHelp(metric.help)}`);
    lines.push(`# TYPE ${metric.name} ${metric.kind}`);
    for (const { labels, value } of metric.samples()) {
      if (value instanceof Distribution) addDistribution(lines, metric.name, labels, value);
      else lines.push(line(metric.name, labels, value));
    }
  }
  return `${lines.join("\n")}\n`;
}

function addDistribution(lines: string[], name: string, labels: Labels, value: Distribution): void {
  let count = 0;
  for (const [index, inBucket] of value.counts.entries()) {
    count += inBucket;
    const bound = value.bounds[index];
    const le = bound === undefined ? "+Inf" : String(bound);
    lines.push(line(`${name}_bucket`, { ...labels, le }, count));
  }
  lines.push(line(`${name}_sum`, labels, value.sum), line(`${name}_count`, labels, count));
}

function line(name: string, labels: Labels, value: number): string {
  const pairs = Object.entries(labels).map(([label, text]) => `${label}="${escapeLabel(text)}"`);
  const braces = pairs.length > 0 ? `{${pairs.join(",")}}` : "";
  return `${name}${braces} ${numberText(value)}`;
}

function numberText(value: number): string {
  if (value === Infinity) return "+Inf";
  return value === -Infinity ? "-Inf" : String(value);
}

const escapeHelp = (text: string): string => text.replaceAll("\\", "\\\\").replaceAll("\n", "\\n");

const escapeLabel = (text: string): string => escapeHelp(text).replaceAll('"', '\\"');
