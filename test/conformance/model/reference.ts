import { limits } from "../../../src/limits.js";
import { isFinal, type AttemptOutcome, type Status, type Task } from "../../../src/task/task.js";
import type { Ending } from "../broker/kit.js";

export interface ModelTask {
  readonly id: string;
  readonly spec: Task;
  /** Lane, and the order of its enqueue. */
  readonly lane: string;
  readonly order: number;
  /** It came in waiting for its time: its place among those that did not is left open. */
  readonly cameDelayed: boolean;
  status: Status;
  version: number;
  run: number;
  attempt: number;
  retryCount: number;
  leaseLosses: number;
  releases: number;
  fencingToken: number;
  sessionId: string;
  errorCode: string | undefined;
  readyAt: number;
  /** Its times on the model's clock, Infinity: none. */
  readonly expireAt: number;
  readonly deadline: number;
  started: boolean;
  /** Of the attempt that runs. */
  startedAt: number;
  heardAt: number;
  cancelDueAt: number | undefined;
  token: string | undefined;
  ended: AttemptOutcome | undefined;
  quarantined: boolean;
}

export interface ModelSession {
  readonly id: string;
  generation: number;
  endsAt: number;
  left: boolean;
}

export interface ModelLease {
  readonly token: Uint8Array;
  readonly taskId: string;
  readonly sessionId: string;
  readonly fencingToken: number;
}

interface ModelTombstone {
  readonly run: number;
  readonly token: string | undefined;
  readonly ended: AttemptOutcome | undefined;
  readonly sessionId: string;
}

export interface ModelTimes {
  readonly delayMs: number;
  readonly expireInMs?: number | undefined;
  readonly deadlineInMs?: number | undefined;
}

export interface SweepView {
  /** Id, status and version of what was ended while it waited. */
  readonly ended: string[];
  readonly lost: string[];
  readonly left: string[];
  readonly timedOut: string[];
  readonly cancelOverdue: string[];
  readonly promoted: number;
}

export const hex = (token: Uint8Array): string => Buffer.from(token).toString("hex");

/**
 * What a broker is, told as plainly as possible: maps, full scans and no indexes. It never predicts
 * which of several lawful grants a broker makes; it checks those made, and follows.
 */
export class ReferenceBroker {
  now = 0;
  cold = false;
  readonly tasks = new Map<string, ModelTask>();
  readonly tombstones = new Map<string, ModelTombstone>();
  readonly sessions = new Map<string, ModelSession>();
  readonly leases: ModelLease[] = [];
  readonly paused = new Set<string>();
  readonly grants = new Map<string, number>();
  /** In order: what history was told and has not confirmed. */
  outbox: { taskId: string; run: number; version: number; status: Status }[] = [];
  highestFencing = 0;
  private orders = 0;
  private lastSweepAt: number | undefined;
  private noReapBefore = 0;
  private noTimeoutBefore = 0;

  all(): ModelTask[] {
    return [...this.tasks.values()];
  }

  isLive(id: string): boolean {
    const session = this.sessions.get(id);
    return session !== undefined && !session.left && session.endsAt > this.now;
  }

  enqueue(task: Task, origin: "submit" | "restore", times: ModelTimes): "enqueued" | "known" {
    const { delayMs, expireInMs = Infinity, deadlineInMs = Infinity } = times;
    const known = this.tasks.get(task.id);
    if (known && (known.run >= task.run || !isFinal(known.status))) return "known";
    const tombstone = this.tombstones.get(task.id);
    if (!known && tombstone && tombstone.run >= task.run) return "known";
    this.tasks.delete(task.id);
    this.tombstones.delete(task.id);
    const waits = delayMs > 0;
    const record: ModelTask = {
      id: task.id,
      spec: task,
      lane: laneNameOf(task),
      order: this.orders++,
      cameDelayed: waits,
      status: waits ? "scheduled" : "pending",
      version: task.version,
      run: task.run,
      attempt: task.attempt,
      retryCount: task.retryCount,
      leaseLosses: task.leaseLosses,
      releases: task.releases,
      fencingToken: task.fencingToken,
      sessionId: task.sessionId,
      errorCode: task.error?.code,
      readyAt: this.now + delayMs,
      expireAt: task.run === 1 ? this.now + expireInMs : Infinity,
      deadline: task.run === 1 ? this.now + deadlineInMs : Infinity,
      started: task.startedAt !== undefined,
      startedAt: 0,
      heardAt: 0,
      cancelDueAt: undefined,
      token: undefined,
      ended: undefined,
      quarantined: false,
    };
    this.tasks.set(task.id, record);
    if (origin === "submit" && task.durability === "relaxed") this.tell(record);
    return "enqueued";
  }

  grant(id: string, sessionId: string, token: Uint8Array, fencingToken: number): void {
    const task = this.tasks.get(id)!;
    const { queue } = task.spec;
    this.grants.set(queue, (this.grants.get(queue) ?? 0) + 1);
    this.highestFencing = Math.max(this.highestFencing, fencingToken);
    this.leases.push({ token, taskId: id, sessionId, fencingToken });
    Object.assign(task, {
      status: "running",
      version: task.version + 1,
      attempt: task.attempt + 1,
      fencingToken,
      sessionId,
      token: hex(token),
      ended: undefined,
      cancelDueAt: undefined,
      started: true,
      startedAt: this.now,
      heardAt: this.now,
    });
  }

  /** Whether it may be leased no more though it waits. */
  isOver(task: ModelTask): boolean {
    return this.now >= this.waitEnd(task);
  }

  private waitEnd({ started, expireAt, deadline }: ModelTask): number {
    return Math.min(started ? Infinity : expireAt, deadline);
  }

  private attemptEnd({ startedAt, heardAt, deadline, spec }: ModelTask): number {
    const silentAt = heardAt + (spec.terms?.heartbeatTimeoutMs ?? Infinity);
    return Math.min(startedAt + spec.timeoutMs, deadline, silentAt);
  }

  progress(token: Uint8Array, taskId: string, by: string): void {
    const task = this.tasks.get(taskId);
    const own = task?.token === hex(token) && task.sessionId === by;
    if (own && task.status === "running") task.heardAt = this.now;
  }

  settle(token: Uint8Array, taskId: string, ending: Ending, by: string | undefined): string {
    const task = this.tasks.get(taskId);
    const outcome = outcomeOf(ending);
    if (!task) {
      const stone = this.tombstones.get(taskId);
      const same = stone?.token === hex(token) && (by === undefined || by === stone.sessionId);
      return same && stone.ended === outcome ? "duplicate" : "stale";
    }
    if (task.token !== hex(token)) return "stale";
    if (by !== undefined && by !== task.sessionId) return "stale";
    if (task.status === "running") {
      if (ending.kind === "lose" && this.isLive(task.sessionId)) return "stale";
      this.end(task, ending, outcome);
      return "accepted";
    }
    const waits = task.status === "pending" || task.status === "retrying";
    if (waits && task.ended === "lost" && ending.kind === "complete") {
      this.end(task, ending, outcome);
      return "accepted";
    }
    return task.ended === outcome ? "duplicate" : "stale";
  }

  cancel(id: string, namespace: string, graceMs: number): string {
    const task = this.tasks.get(id);
    if (!task) {
      const planted = { run: 1, token: undefined, ended: undefined, sessionId: "" };
      if (!this.tombstones.has(id)) this.tombstones.set(id, planted);
      return "unknown";
    }
    if (task.spec.namespace !== namespace) return "unknown";
    if (isFinal(task.status)) return "final";
    if (task.status === "running") {
      if (task.cancelDueAt === undefined) {
        this.step(task, "running");
        this.tell(task);
      }
      task.cancelDueAt = Math.min(task.cancelDueAt ?? Infinity, this.now + graceMs);
      return "requested";
    }
    this.step(task, "cancelled");
    this.tell(task);
    return "cancelled";
  }

  replace(id: string, unstarted: boolean): string {
    const task = this.tasks.get(id);
    if (!task) return "unknown";
    if (isFinal(task.status) || (unstarted && task.started)) return "over";
    if (this.cold) return "cold";
    if (task.status === "running") return "held";
    this.step(task, "cancelled");
    this.tell(task);
    return "replaced";
  }

  promoteNow(id: string): boolean {
    const task = this.tasks.get(id);
    if (task?.status !== "scheduled" && task?.status !== "retrying") return false;
    this.step(task, "pending");
    return true;
  }

  sweep(): SweepView {
    const gap = this.lastSweepAt === undefined || this.now - this.lastSweepAt > limits.sweepGapMs;
    this.lastSweepAt = this.now;
    if (gap) {
      this.noReapBefore = this.now + limits.reapGraceMs;
      this.noTimeoutBefore = this.now + limits.timeoutGraceMs;
    }
    const ended = this.endOverdue();
    let promoted = 0;
    for (const task of this.all()) {
      const waits = task.status === "scheduled" || task.status === "retrying";
      if (!waits || task.readyAt > this.now) continue;
      this.step(task, "pending");
      promoted += 1;
    }
    const running = this.all().filter((task) => task.status === "running");
    const idsOf = (test: (task: ModelTask) => boolean) =>
      running
        .filter(test)
        .map((task) => task.id)
        .toSorted();
    const hasLeft = (task: ModelTask) => this.sessions.get(task.sessionId)?.left ?? false;
    const mayReap = this.now >= this.noReapBefore;
    const mayTimeOut = this.now >= this.noTimeoutBefore;
    return {
      lost: idsOf((task) => mayReap && !hasLeft(task) && !this.isLive(task.sessionId)),
      left: idsOf(hasLeft),
      ended,
      timedOut: idsOf((task) => mayTimeOut && this.attemptEnd(task) <= this.now),
      cancelOverdue: idsOf(
        (task) => task.cancelDueAt !== undefined && task.cancelDueAt <= this.now,
      ),
      promoted,
    };
  }

  private endOverdue(): string[] {
    const ended: string[] = [];
    const first = (a: ModelTask, b: ModelTask): number => this.waitEnd(a) - this.waitEnd(b);
    for (const task of [...this.all()].toSorted(first)) {
      const waits = ["scheduled", "pending", "retrying"].includes(task.status);
      if (!waits || !this.isOver(task)) continue;
      const expired = !task.started && task.expireAt < task.deadline;
      task.errorCode = expired ? "expired" : "deadline";
      this.step(task, task.started ? "failed" : "expired");
      this.tell(task);
      ended.push(viewOfEnd(task));
    }
    return ended.toSorted();
  }

  /** The entry at `index` is confirmed in `version`. */
  recorded(index: number, version: number): void {
    const [entry] = this.outbox.splice(index, 1);
    const task = this.tasks.get(entry!.taskId);
    if (task && isFinal(task.status) && version >= task.version) this.bury(task);
  }

  buryFromHistory(id: string, run: number): void {
    const task = this.tasks.get(id);
    if (task && (task.run > run || isFinal(task.status))) return;
    this.tasks.delete(id);
    const known = this.tombstones.get(id);
    if (known && known.run >= run) return;
    this.tombstones.set(id, { run, token: undefined, ended: undefined, sessionId: "" });
  }

  /** Which of the held tokens are the session's own; those adopted run again. */
  resume(
    session: ModelSession,
    held: readonly ModelLease[],
  ): { kept: string[]; revoked: string[] } {
    this.sessions.set(session.id, session);
    const kept: string[] = [];
    const revoked: string[] = [];
    for (const { token, taskId } of held) {
      const task = this.tasks.get(taskId);
      const own = task?.token === hex(token) && task.sessionId === session.id;
      if (own && task.status === "running") kept.push(hex(token));
      else if (own && task.ended === "lost" && !isFinal(task.status)) {
        this.step(task, "running");
        task.ended = undefined;
        task.cancelDueAt = undefined;
        task.started = true;
        task.heardAt = this.now;
        kept.push(hex(token));
      } else revoked.push(hex(token));
    }
    return { kept: kept.toSorted(), revoked: revoked.toSorted() };
  }

  private end(task: ModelTask, ending: Ending, outcome: AttemptOutcome): void {
    const asked = task.status === "running" && task.cancelDueAt !== undefined;
    task.ended = outcome;
    const to = this.charge(task, ending);
    this.step(task, asked && !isFinal(to) ? "cancelled" : to);
    this.tell(task);
  }

  private charge(task: ModelTask, ending: Ending): Status {
    const released = ending.kind === "release";
    const counted = released && !ending.unsent ? 1 : 0;
    task.releases = released ? task.releases + counted : 0;
    switch (ending.kind) {
      case "complete":
        return "completed";
      case "cancel":
        return "cancelled";
      case "fail":
        task.errorCode = ending.error.code;
        if (ending.retryInMs === undefined) return "failed";
        if (task.cancelDueAt === undefined && this.now + ending.retryInMs >= task.deadline) {
          return "failed";
        }
        task.retryCount += 1;
        task.readyAt = this.now + ending.retryInMs;
        return "retrying";
      case "release":
        task.readyAt = this.now + ending.delayMs;
        return ending.delayMs > 0 ? "scheduled" : "pending";
      case "lose":
        task.leaseLosses += 1;
        if (ending.then === "pending") return "pending";
        if (ending.then === "poison") {
          task.errorCode = "poison";
          return "failed";
        }
        task.quarantined = true;
        task.readyAt = this.now + ending.delayMs;
        return "retrying";
    }
  }

  private step(task: ModelTask, status: Status): void {
    task.status = status;
    task.version += 1;
  }

  private tell({ id, run, version, status }: ModelTask): void {
    this.outbox.push({ taskId: id, run, version, status });
  }

  private bury(task: ModelTask): void {
    const { run, token, ended, sessionId } = task;
    this.tasks.delete(task.id);
    this.tombstones.set(task.id, { run, token, ended, sessionId });
  }
}

export const laneNameOf = ({ namespace, queue, type }: Task): string =>
  `${namespace}/${queue}/${type}`;

export function outcomeOf(ending: Ending): AttemptOutcome {
  if (ending.kind === "fail") return ending.cause === "timeout" ? "timeout" : "failed";
  const outcomes = {
    complete: "completed",
    release: "released",
    cancel: "cancelled",
    lose: "lost",
  } as const;
  return outcomes[ending.kind];
}

export const viewOfEnd = (task: Pick<Task, "id" | "status" | "version">): string =>
  `${task.id} ${task.status} v${task.version}`;
