import type { SessionInfo } from "../broker/broker.js";
import { isFinal, type QueueSettings, type Status } from "../task/task.js";
import { DroverError } from "../errors.js";
import { defaultQueueSettings } from "../task/validate.js";
import type { Page, QueueChange, QueueView, Stats } from "./coordinator.js";
import type { Parts } from "./parts.js";
import { decodePageToken, encodePageToken, namePattern } from "./page.js";

interface Entry {
  settings: QueueSettings;
  readAt: number;
}

/** How long settings are trusted when no hint comes that they changed. */
const freshMs = 2_000;
/** Queues kept in memory; the least recently read go first. */
const entriesMax = 10_000;

/**
 * The queues as this coordinator knows them: settings cached for submits, changes written through.
 */
export class QueueBook {
  readonly #parts: Parts;
  readonly #entries = new Map<string, Entry>();
  readonly #reading = new Map<string, Promise<QueueSettings>>();
  readonly #touched = new Set<string>();
  #unsubscribe: (() => void) | undefined;

  constructor(parts: Parts) {
    this.#parts = parts;
  }

  start(): void {
    this.#unsubscribe ??= this.#parts.broker.onHint((hint) => {
      if (hint.kind === "queue") this.#entries.delete(keyOf(hint.namespace, hint.queue));
    });
  }

  stop(): void {
    this.#unsubscribe?.();
    this.#unsubscribe = undefined;
  }

  /** Settings for a submit, where they are fresh in memory. */
  known(namespace: string, name: string): QueueSettings | undefined {
    const known = this.#entries.get(keyOf(namespace, name));
    const fresh = known && this.#parts.clock.monotonic() - known.readAt <= freshMs;
    return fresh ? known.settings : undefined;
  }

  /** Settings for a submit. While history is away the last known ones serve. */
  async settings(namespace: string, name: string): Promise<QueueSettings> {
    const known = this.#entries.get(keyOf(namespace, name));
    if (!known) return this.#read(namespace, name);
    const now = this.#parts.clock.monotonic();
    if (now - known.readAt > freshMs) {
      // Whatever comes of it, the next look is no sooner than the time they are trusted.
      known.readAt = now;
      this.#read(namespace, name).catch(() => undefined);
    }
    return known.settings;
  }

  /** Those who ask for the same queue at once share one read. */
  #read(namespace: string, name: string): Promise<QueueSettings> {
    const key = keyOf(namespace, name);
    let reading = this.#reading.get(key);
    if (!reading) {
      reading = this.#fetch(namespace, name).finally(() => this.#reading.delete(key));
      this.#reading.set(key, reading);
    }
    return reading;
  }

  async #fetch(namespace: string, name: string): Promise<QueueSettings> {
    const stored = await this.#parts.history.queue(namespace, name);
    const settings = stored ?? defaultQueueSettings(namespace, name);
    if (this.#entries.size >= entriesMax) {
      const oldest = this.#entries.keys().next().value;
      if (oldest !== undefined) this.#entries.delete(oldest);
    }
    const readAt = this.#parts.clock.monotonic();
    this.#entries.set(keyOf(namespace, name), { settings, readAt });
    return settings;
  }

  /** Lists the queue from now on. Best effort: a queue that is used again is touched again. */
  touch(namespace: string, name: string): void {
    const key = keyOf(namespace, name);
    if (this.#touched.has(key) || !this.#parts.history.available) return;
    if (this.#touched.size >= entriesMax) this.#touched.clear();
    this.#touched.add(key);
    this.#parts.history.touchQueues([{ namespace, name }]).catch(() => this.#touched.delete(key));
  }

  async view(namespace: string, name: string): Promise<QueueView> {
    const stored = await this.#parts.history.queue(namespace, name);
    if (!stored) {
      throw new DroverError("queue_not_found", `no queue "${name}" was ever used here`, {
        field: "name",
      });
    }
    return { ...stored, stats: await this.stats(namespace, name) };
  }

  async list(
    namespace: string,
    page: Page,
  ): Promise<{ queues: QueueView[]; nextPageToken: string }> {
    const after = decodePageToken("queues", page.pageToken, namePattern);
    const found = await this.#parts.history.queues(namespace, after, page.pageSize + 1);
    const shown = found.slice(0, page.pageSize);
    const queues: QueueView[] = [];
    const [all, sessions] = await Promise.all([
      this.#counts(namespace),
      this.#parts.broker.listSessions(),
    ]);
    for (const settings of shown) {
      const workers = workersOf(sessions, namespace, settings.name);
      queues.push({ ...settings, stats: statsOf(all, settings.name, workers) });
    }
    const last = shown.at(-1);
    const nextPageToken =
      found.length > page.pageSize && last ? encodePageToken("queues", last.name) : "";
    return { queues, nextPageToken };
  }

  async update(namespace: string, name: string, change: QueueChange): Promise<QueueView> {
    const { ifVersion, ...fields } = change;
    const stored = await this.#parts.history.queue(namespace, name);
    const before = stored ?? defaultQueueSettings(namespace, name);
    if (fields.durability && fields.durability !== before.durability) {
      await this.#requireDrained(namespace, name);
    }
    const wanted: QueueSettings = {
      ...before,
      ...fields,
      namespace,
      name,
      version: before.version + 1,
    };
    const after = await this.#parts.history.putQueue(wanted, ifVersion ?? before.version);
    if (!after) {
      throw new DroverError("stale_queue", `queue "${name}" was changed by somebody else`, {
        field: "queue.etag",
      });
    }
    this.#entries.delete(keyOf(namespace, name));
    await this.#parts.broker.setQueue({ namespace, queue: name, paused: after.paused });
    return { ...after, stats: await this.stats(namespace, name) };
  }

  async stats(namespace: string, queue: string | undefined): Promise<Stats> {
    const sessions = await this.#parts.broker.listSessions();
    return statsOf(await this.#counts(namespace), queue, workersOf(sessions, namespace, queue));
  }

  async #counts(namespace: string): Promise<{ queue: string; status: Status; tasks: number }[]> {
    const [live, ended] = await Promise.all([
      this.#parts.broker.counts(namespace),
      this.#parts.history.finalCounts(namespace),
    ]);
    return [...live.filter((count) => !isFinal(count.status)), ...ended];
  }

  async #requireDrained(namespace: string, name: string): Promise<void> {
    const stats = await this.stats(namespace, name);
    const live = stats.pending + stats.running + stats.scheduled + stats.retrying + stats.blocked;
    if (live === 0) return;
    const message = `queue "${name}" holds ${live} tasks; its durability needs it empty`;
    throw new DroverError("queue_not_drained", message, { field: "queue.durability" });
  }
}

const keyOf = (namespace: string, name: string): string => `${namespace}\0${name}`;

/** Sessions of the namespace; with a queue, those that take tasks from it. */
const workersOf = (
  sessions: readonly SessionInfo[],
  namespace: string,
  queue: string | undefined,
): number =>
  sessions.filter(
    (session) =>
      session.namespace === namespace &&
      (queue === undefined || session.subscriptions.some((it) => it.queue === queue)),
  ).length;

function statsOf(
  counts: readonly { queue: string; status: Status; tasks: number }[],
  queue: string | undefined,
  workers: number,
): Stats {
  const stats = {
    blocked: 0,
    scheduled: 0,
    pending: 0,
    running: 0,
    retrying: 0,
    completed: 0,
    failed: 0,
    cancelled: 0,
    expired: 0,
    workers,
  };
  for (const count of counts) {
    if (queue === undefined || count.queue === queue) stats[count.status] += count.tasks;
  }
  return stats;
}
