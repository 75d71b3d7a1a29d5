import type { Timer } from "../clock.js";
import { limits } from "../limits.js";
import type { LogEntry } from "../task/log.js";
import type { WorkerLog } from "./frames.js";
import type { Parts } from "./parts.js";
import { type Held, tokenKey, type WorkerSession } from "./worker-session.js";

/** Entries gather for this long; the end of their attempt does not wait for it. */
const gatherMs = 50;
const flushEntries = 500;
const retryMs = 500;
/** How long the end of an attempt waits for its logs while history does not answer. */
const holdMs = 500;

/** What is known of the logs of one lease. */
interface LeaseLog {
  readonly key: string;
  readonly session: WorkerSession;
  readonly token: Uint8Array;
  readonly place: Pick<LogEntry, "taskId" | "fencingToken" | "attempt">;
  bytes: number;
  /** Highest sequence that came. */
  last: number;
  /** Entries not kept, and how many of them a marker has told. */
  dropped: number;
  told: number;
  /** Entries that wait or are under way; with 0 they stand. */
  open: number;
  waiting: (() => void)[];
}

/**
 * Logs of running attempts on their way into history: gathered, bounded, and told to watchers once
 * they stand. Nothing of the hot path waits here but the end of an attempt that logged.
 */
export class LogDesk {
  readonly #parts: Parts;
  readonly #leases = new Map<string, LeaseLog>();
  #waiting: { entry: LogEntry; lease: LeaseLog }[] = [];
  #bytes = 0;
  #timer: Timer | undefined;
  #flight: Promise<void> | undefined;
  #stopped = false;

  constructor(parts: Parts) {
    this.#parts = parts;
  }

  /** Logs of leases that are not out here are forgotten, and their worker told so. */
  take(session: WorkerSession, logs: readonly WorkerLog[]): void {
    for (const { token, entries } of logs) {
      const lease = this.#leaseOf(session, token);
      const last = entries.at(-1)?.sequence ?? 0;
      if (!lease) session.port.send({ kept: [{ token, logSequence: last, checkpoint: 0 }] });
      else for (const entry of entries) this.#add(lease, entry);
    }
    this.#plan();
  }

  /** Undefined: nothing of this lease is on its way. Otherwise when it stands, or 500 ms later. */
  standing(key: string): Promise<void> | undefined {
    const lease = this.#leases.get(key);
    if (!lease) return undefined;
    this.#mark(lease, true);
    this.#leases.delete(key);
    if (lease.open === 0) return undefined;
    this.#plan(true);
    return new Promise((resolve) => {
      const timer = this.#parts.clock.after(holdMs, resolve);
      lease.waiting.push(() => {
        timer.cancel();
        resolve();
      });
    });
  }

  /** The stream is gone: what came stays on its way, the rest comes again elsewhere. */
  gone(session: WorkerSession): void {
    for (const [key, lease] of this.#leases) {
      if (lease.session === session) this.#leases.delete(key);
    }
  }

  /** One last try for what waits. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#timer?.cancel();
    await this.#flight;
    while (this.#waiting.length > 0) {
      const batch = this.#waiting.splice(0, flushEntries);
      await this.#write(batch).catch(() => undefined);
    }
  }

  #leaseOf(session: WorkerSession, token: Uint8Array): LeaseLog | undefined {
    const key = tokenKey(token);
    const known = this.#leases.get(key);
    if (known?.session === session) return known;
    const held = session.leases.get(key);
    if (!held) return undefined;
    const lease = leaseLog(key, session, held);
    this.#leases.set(key, lease);
    return lease;
  }

  #add(lease: LeaseLog, entry: WorkerLog["entries"][number]): void {
    lease.last = Math.max(lease.last, entry.sequence);
    const size = entry.message.length + entry.fields.length + entryBytes;
    const marker = entry.dropped > 0;
    const spent = entry.sequence > limits.logEntries || lease.bytes + size > limits.logBytes;
    const full =
      this.#waiting.length >= limits.logsWaiting || this.#bytes + size > limits.logBytesWaiting;
    if ((spent && !marker) || full) {
      lease.dropped += marker ? entry.dropped : 1;
      this.#mark(lease, false);
      return;
    }
    lease.bytes += size;
    this.#put(lease, Object.assign({ ...lease.place }, entry));
  }

  /** Says how many were dropped: with each doubling, and at the end of the attempt. */
  #mark(lease: LeaseLog, last: boolean): void {
    const untold = lease.dropped - lease.told;
    if (untold === 0 || (!last && untold <= lease.told)) return;
    lease.told = lease.dropped;
    const bound = `${limits.logEntries} and ${limits.logBytes} bytes an attempt are kept`;
    const message = `${untold} entries were dropped: ${bound}, as far as history keeps up`;
    const marker = { time: this.#parts.clock.now(), level: "warn", message, fields: "" } as const;
    this.#put(lease, { ...lease.place, ...marker, sequence: lease.last, dropped: untold });
  }

  #put(lease: LeaseLog, entry: LogEntry): void {
    lease.open += 1;
    this.#bytes += sizeOf(entry);
    this.#waiting.push({ entry, lease });
  }

  #plan(now = false): void {
    if (this.#flight || this.#stopped || this.#waiting.length === 0) return;
    if (now || this.#waiting.length >= flushEntries) return this.#flush();
    this.#timer ??= this.#parts.clock.after(gatherMs, () => this.#flush());
  }

  #flush(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    if (this.#flight) return;
    const batch = this.#waiting.splice(0, flushEntries);
    this.#flight = this.#write(batch).then(
      () => this.#landed(0),
      () => {
        this.#waiting.unshift(...batch);
        this.#landed(retryMs);
      },
    );
  }

  #landed(pauseMs: number): void {
    this.#flight = undefined;
    if (this.#stopped || this.#waiting.length === 0) return;
    if (pauseMs === 0) this.#plan(true);
    else this.#timer ??= this.#parts.clock.after(pauseMs, () => this.#flush());
  }

  async #write(batch: readonly { entry: LogEntry; lease: LeaseLog }[]): Promise<void> {
    const { history, broker } = this.#parts;
    await history.addLogs(batch.map(({ entry }) => entry));
    const stood = new Map<LeaseLog, number>();
    for (const { entry, lease } of batch) {
      this.#bytes -= sizeOf(entry);
      lease.open -= 1;
      stood.set(lease, Math.max(stood.get(lease) ?? 0, entry.sequence));
    }
    for (const [lease, logSequence] of stood) {
      if (lease.open === 0) for (const resolve of lease.waiting.splice(0)) resolve();
      const { session, token } = lease;
      if (!session.closed) session.port.send({ kept: [{ token, logSequence, checkpoint: 0 }] });
    }
    const ids = new Set(Array.from(stood.keys(), ({ place }) => place.taskId));
    // Watchers look by themselves before long.
    await broker.announceLogs([...ids]).catch(() => undefined);
  }
}

/** Around the texts of an entry, roughly. */
const entryBytes = 64;

const sizeOf = (entry: LogEntry): number => entry.message.length + entry.fields.length + entryBytes;

const leaseLog = (key: string, session: WorkerSession, { lease }: Held): LeaseLog => ({
  key,
  session,
  token: lease.token,
  place: {
    taskId: lease.task.id,
    fencingToken: lease.task.fencingToken,
    attempt: lease.task.attempt,
  },
  bytes: 0,
  last: 0,
  dropped: 0,
  told: 0,
  open: 0,
  waiting: [],
});
