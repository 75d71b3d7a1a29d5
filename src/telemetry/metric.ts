/** A figure people watch: its name and meaning, and its values as they stand now. */
export interface Metric {
  readonly name: string;
  readonly help: string;
  readonly kind: "counter" | "gauge" | "histogram";
  samples(): Iterable<Sample>;
}

export type Labels = Readonly<Record<string, string>>;

export interface Sample {
  readonly labels: Labels;
  /** A Distribution in a histogram, else a number. */
  readonly value: number | Distribution;
}

/** Values of a label that are told apart; what comes later is counted under `other`. */
const namesMax = 1_000;
const overflow = "other";

/** Keeps the number of time series bounded, however many names a caller makes up. */
export class NameLimit {
  readonly #names = new Set<string>();

  admit(name: string): string {
    if (this.#names.has(name)) return name;
    if (this.#names.size >= namesMax) return overflow;
    this.#names.add(name);
    return name;
  }
}

export interface TableOptions {
  readonly name: string;
  readonly help: string;
  /** The label of the rows, bounded by a NameLimit. */
  readonly row: string;
  /** The label of the columns, and all its values. Default: none. */
  readonly column?: { readonly label: string; readonly values: readonly string[] };
}

/** Counters by one free label and at most one with few values. Adding is a look-up and a plus. */
export class CounterTable implements Metric {
  readonly name: string;
  readonly help: string;
  readonly kind = "counter";
  readonly #options: TableOptions;
  readonly #rows = new Map<string, number[]>();

  constructor(options: TableOptions) {
    this.name = options.name;
    this.help = options.help;
    this.#options = options;
  }

  /** Adds to one cell; the others of the row stand at 0 from then on. */
  add(row: string, column = 0, by = 1): void {
    let cells = this.#rows.get(row);
    if (!cells) {
      cells = Array.from({ length: this.#options.column?.values.length ?? 1 }, () => 0);
      this.#rows.set(row, cells);
    }
    const before = cells[column];
    if (before !== undefined) cells[column] = before + by;
  }

  *samples(): Generator<Sample> {
    const { row: rowLabel, column } = this.#options;
    for (const [row, cells] of this.#rows) {
      for (const [index, value] of cells.entries()) {
        const labels = column
          ? { [rowLabel]: row, [column.label]: column.values[index]! }
          : { [rowLabel]: row };
        yield { labels, value };
      }
    }
  }
}

/** One number, read when somebody looks. */
export class Reading implements Metric {
  readonly name: string;
  readonly help: string;
  readonly kind: "counter" | "gauge";
  readonly #read: () => number | undefined;

  /** `read` gives undefined while the figure is unknown; then it has no sample. */
  constructor(
    name: string,
    help: string,
    kind: "counter" | "gauge",
    read: () => number | undefined,
  ) {
    this.name = name;
    this.help = help;
    this.kind = kind;
    this.#read = read;
  }

  *samples(): Generator<Sample> {
    const value = this.#read();
    if (value !== undefined) yield { labels: {}, value };
  }
}

/** How many values fell under each bound. */
export class Distribution {
  readonly bounds: readonly number[];
  /** One more than there are bounds: the last one holds what is above them all. */
  readonly counts: number[];
  sum = 0;

  constructor(bounds: readonly number[]) {
    this.bounds = bounds;
    this.counts = Array.from({ length: bounds.length + 1 }, () => 0);
  }

  observe(value: number): void {
    let index = 0;
    while (index < this.bounds.length && value > this.bounds[index]!) index += 1;
    this.counts[index]! += 1;
    this.sum += value;
  }
}

export interface HistogramOptions {
  readonly name: string;
  readonly help: string;
  /** Upper bounds, rising. */
  readonly bounds: readonly number[];
  /** A label bounded by a NameLimit. Default: none, and one distribution that is always there. */
  readonly label?: string;
}

export class Histogram implements Metric {
  readonly name: string;
  readonly help: string;
  readonly kind = "histogram";
  readonly bounds: readonly number[];
  readonly #label: string | undefined;
  readonly #byName = new Map<string, Distribution>();
  /** Hears each value too: an exporter that keeps distributions of its own. */
  tap: ((value: number, labels: Labels) => void) | undefined;

  constructor({ name, help, bounds, label }: HistogramOptions) {
    this.name = name;
    this.help = help;
    this.bounds = bounds;
    this.#label = label;
    if (label === undefined) this.#byName.set("", new Distribution(bounds));
  }

  observe(value: number, name = ""): void {
    let distribution = this.#byName.get(name);
    if (!distribution) {
      distribution = new Distribution(this.bounds);
      this.#byName.set(name, distribution);
    }
    distribution.observe(value);
    this.tap?.(value, this.#labels(name));
  }

  *samples(): Generator<Sample> {
    for (const [name, value] of this.#byName) yield { labels: this.#labels(name), value };
  }

  #labels(name: string): Labels {
    return this.#label === undefined ? {} : { [this.#label]: name };
  }
}
