import type { Clock } from "../clock.js";
import { priorityName } from "./event-metrics.js";
import { type Metric, NameLimit, type Sample } from "./metric.js";

/** What all coordinators see alike. */
export interface GlobalSources {
  readonly broker: {
    readonly available: boolean;
    counts(
      namespace: string,
    ): Promise<readonly { queue: string; priority: number; status: string; tasks: number }[]>;
  };
  readonly history: {
    queues(
      namespace: undefined,
      afterName: string,
      limit: number,
    ): Promise<readonly { namespace: string; name: string }[]>;
  };
}

/** How long counts serve, in ms: many scrapers cost no more than one. */
const freshMs = 1_000;
/** The same for the list of queues. */
const queuesFreshMs = 30_000;
/** A scrape waits for a store no longer than this, and shows what it has. */
const patienceMs = 1_500;
const queuesMax = 1_000;
const levels = [0, 1, 2, 3];

/** Figures of all coordinators together, from counts the broker keeps: nothing is ever walked. */
export class GlobalCounts {
  readonly #sources: GlobalSources;
  readonly #clock: Clock;
  readonly #queues = new Map<string, { namespace: string; name: string }>();
  #queuesAt: number | undefined;
  #counts: ReadonlyMap<string, number> | undefined;
  #countsAt = -Infinity;
  #reading: Promise<void> | undefined;

  constructor(sources: GlobalSources, clock: Clock) {
    this.#sources = sources;
    this.#clock = clock;
  }

  readonly metrics: readonly Metric[] = [
    {
      name: "queue_size",
      help: "Tasks that wait for a worker now (PENDING): the same figure on every coordinator.",
      kind: "gauge",
      samples: () => this.#sizes(),
    },
    {
      name: "drover_tasks",
      help: "Tasks that have not ended, by status: the same figure on every coordinator.",
      kind: "gauge",
      samples: () => this.#live(),
    },
  ];

  /** Reads anew what is too old, one reading at a time. Never rejects, never takes over 1.5 s. */
  async refresh(): Promise<void> {
    if (this.#clock.monotonic() - this.#countsAt < freshMs) return;
    this.#reading ??= this.#read().finally(() => (this.#reading = undefined));
    const enough = new AbortController();
    const patience = this.#clock.sleep(patienceMs, enough.signal).catch(() => undefined);
    await Promise.race([this.#reading, patience]);
    enough.abort();
  }

  async #read(): Promise<void> {
    const { broker } = this.#sources;
    await this.#readQueues().catch(() => undefined);
    const namespaces = new Set(["default"]);
    for (const { namespace } of this.#queues.values()) namespaces.add(namespace);
    try {
      if (!broker.available) throw new Error("the broker is away");
      const replies = await Promise.all([...namespaces].map((name) => broker.counts(name)));
      const counts = new Map<string, number>();
      for (const { queue, priority, status, tasks } of replies.flat()) {
        const key = keyOf(status, priority, queue);
        counts.set(key, (counts.get(key) ?? 0) + tasks);
      }
      this.#counts = counts;
      this.#countsAt = this.#clock.monotonic();
    } catch {
      // An old figure would look like a true one: rather none.
      this.#counts = undefined;
    }
  }

  async #readQueues(): Promise<void> {
    const now = this.#clock.monotonic();
    if (this.#queuesAt !== undefined && now - this.#queuesAt < queuesFreshMs) return;
    this.#queuesAt = now;
    const found = await this.#sources.history.queues(undefined, "", queuesMax);
    for (const { namespace, name } of found) {
      if (this.#queues.size < queuesMax)
        this.#queues.set(`${namespace}/${name}`, { namespace, name });
    }
  }

  *#sizes(): Generator<Sample> {
    if (!this.#counts) return;
    const names = new Set(["default"]);
    for (const { name } of this.#queues.values()) names.add(name);
    for (const { status, queue } of this.#cells()) if (status === "pending") names.add(queue);
    const sizes = new Map<string, number>();
    const limit = new NameLimit();
    for (const queue of [...names].toSorted()) {
      for (const level of levels) {
        const key = `${level} ${limit.admit(queue)}`;
        const tasks = this.#counts.get(keyOf("pending", level, queue)) ?? 0;
        sizes.set(key, (sizes.get(key) ?? 0) + tasks);
      }
    }
    for (const [key, value] of sizes) {
      yield { labels: { queue: key.slice(2), priority: priorityName(Number(key[0])) }, value };
    }
  }

  *#live(): Generator<Sample> {
    if (!this.#counts) return;
    const tasks = new Map<string, number>();
    for (const status of ["blocked", "scheduled", "pending", "running", "retrying"]) {
      tasks.set(status, 0);
    }
    for (const { status, value } of this.#cells()) {
      const before = tasks.get(status);
      if (before !== undefined) tasks.set(status, before + value);
    }
    for (const [status, value] of tasks) yield { labels: { status }, value };
  }

  *#cells(): Generator<{ status: string; queue: string; value: number }> {
    for (const [key, value] of this.#counts ?? []) {
      const [status = "", , queue = ""] = key.split(" ");
      yield { status, queue, value };
    }
  }
}

// Names of queues and statuses hold no space.
const keyOf = (status: string, priority: number, queue: string): string =>
  `${status} ${priority} ${queue}`;
