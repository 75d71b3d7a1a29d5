/** One figure of a scrape. */
export interface Point {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

export interface Family {
  readonly name: string;
  readonly kind: string;
  readonly help: string;
  readonly points: Point[];
}

const metricName = /^[a-zA-Z_:][a-zA-Z0-9_:]*$/;
const labelPair = /^([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\\\|\\"|\\n)*)"(,|$)/;
const number = /^[+-]?(?:(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?|Inf|NaN)$/i;
const suffixes: Record<string, readonly string[]> = {
  counter: [""],
  gauge: [""],
  histogram: ["_bucket", "_sum", "_count"],
};

/**
 * Reads the text format of Prometheus strictly: each family once, HELP then TYPE then its samples,
 * none twice, histograms whole and rising. Throws with the line that breaks a rule.
 */
export function readExposition(text: string): Map<string, Family> {
  if (!text.endsWith("\n")) throw new Error("the last line does not end");
  const families = new Map<string, Family>();
  let current: Family | undefined;
  let help: readonly [string, string] | undefined;
  const seen = new Set<string>();
  for (const line of text.slice(0, -1).split("\n")) {
    const [, word, name = "", rest = ""] = /^# (HELP|TYPE) (\S+) (.*)$/.exec(line) ?? [];
    if (word === "HELP") {
      help = [name, rest];
    } else if (word === "TYPE") {
      if (help?.[0] !== name) throw new Error(`TYPE without its HELP: ${line}`);
      if (!metricName.test(name) || !(rest in suffixes)) throw new Error(`no such type: ${line}`);
      if (families.has(name)) throw new Error(`twice: ${line}`);
      current = { name, kind: rest, help: help[1], points: [] };
      families.set(name, current);
    } else {
      const point = readPoint(line);
      const of = suffixes[current?.kind ?? ""]?.map((suffix) => `${current!.name}${suffix}`);
      if (!current || !of?.includes(point.name)) throw new Error(`stands in no family: ${line}`);
      const identity = line.slice(0, line.lastIndexOf(" "));
      if (seen.has(identity)) throw new Error(`twice: ${line}`);
      seen.add(identity);
      current.points.push(point);
    }
  }
  for (const family of families.values()) checkFamily(family);
  return families;
}

function readPoint(line: string): Point {
  const match = /^([^\s{]+)(?:\{(.*)\})? (\S+)$/.exec(line);
  if (!match || !metricName.test(match[1]!)) throw new Error(`no sample: ${line}`);
  if (!number.test(match[3]!)) throw new Error(`no number: ${line}`);
  const labels: Record<string, string> = {};
  let rest = match[2] ?? "";
  while (rest !== "") {
    const pair = labelPair.exec(rest);
    if (!pair || pair[1]! in labels) throw new Error(`odd labels: ${line}`);
    labels[pair[1]!] = pair[2]!.replaceAll(/\\(.)/g, (_, c: string) => (c === "n" ? "\n" : c));
    rest = rest.slice(pair[0].length);
  }
  return { name: match[1]!, labels, value: Number(match[3]!.replace("Inf", "Infinity")) };
}

function checkFamily({ name, kind, points }: Family): void {
  if (kind === "counter" && !name.endsWith("_total")) throw new Error(`${name} is a counter`);
  if (kind !== "histogram") return;
  const bySeries = new Map<string, Point[]>();
  for (const point of points) {
    const { le: _, ...labels } = point.labels;
    const key = JSON.stringify(labels);
    bySeries.set(key, [...(bySeries.get(key) ?? []), point]);
  }
  for (const series of bySeries.values()) {
    const buckets = series.filter((point) => point.name === `${name}_bucket`);
    const bounds = buckets.map(({ labels }) => Number(labels["le"]!.replace("+Inf", "Infinity")));
    const rising = (numbers: readonly number[]) =>
      numbers.every((value, index) => index === 0 || value >= numbers[index - 1]!);
    const count = series.find((point) => point.name === `${name}_count`)?.value;
    const last = buckets.at(-1);
    if (bounds.at(-1) !== Infinity || !rising(bounds)) throw new Error(`${name}: bounds`);
    if (!rising(buckets.map(({ value }) => value))) throw new Error(`${name}: falling counts`);
    if (last?.value !== count) throw new Error(`${name}: +Inf is not the count`);
  }
}

/** The value of a sample; undefined if there is none. */
export function valueOf(
  families: ReadonlyMap<string, Family>,
  name: string,
  labels: Readonly<Record<string, string>> = {},
): number | undefined {
  const family =
    families.get(name) ?? families.get(name.replace(/_(bucket|sum|count)$/, "")) ?? undefined;
  const wanted = Object.entries(labels);
  return family?.points.find(
    (point) =>
      point.name === name &&
      wanted.length === Object.keys(point.labels).length &&
      wanted.every(([label, value]) => point.labels[label] === value),
  )?.value;
}
