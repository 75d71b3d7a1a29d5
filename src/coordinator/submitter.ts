import { createHash } from "node:crypto";
import type { EnqueueItem, EnqueueOutcome, Lane, Lease, LeaseRequest } from "../broker/broker.js";
import { DroverError } from "../errors.js";
import type { InsertOutcome } from "../history/history.js";
import { limits } from "../limits.js";
import { formTaskId, parseTaskId, slotOfQueue, timeOfId } from "../task/ids.js";
import type { Task, TaskSpec } from "../task/task.js";
import { sameSpec } from "../task/same-spec.js";
import { toSpec } from "../task/validate.js";
import { Batcher } from "./batcher.js";
import { CommitMarkers } from "./commit-markers.js";
import { LaneGuard, laneKey, tooManyLanes } from "./lane-guard.js";
import type { Submission, SubmitOutcome } from "./coordinator.js";
import type { Parts } from "./parts.js";
import type { QueueBook } from "./queue-book.js";

/** Work has come in: whoever has free slots for it may take it at once. */
export interface Demand {
  /**
   * Slots reserved for tasks of this lane, or undefined. What is reserved must be given back by
   * `took`; undefined there means that the answer got lost.
   */
  reserve(lane: Lane): LeaseRequest | undefined;
  took(request: LeaseRequest, leases: readonly Lease[] | undefined): void;
  nudge(lanes: readonly Lane[]): void;
}

type Enqueued = { outcome: EnqueueOutcome };

/**
 * Submission: judged, given an id, committed (DURABLE) or enqueued (RELAXED), and only then
 * acknowledged.
 */
export class Submitter {
  readonly #parts: Parts;
  readonly #queues: QueueBook;
  readonly #demand: Demand;
  readonly #markers: CommitMarkers;
  readonly #lanes: LaneGuard;
  readonly #commits: Batcher<Task, InsertOutcome>;
  readonly #enqueues: Batcher<EnqueueItem, Enqueued>;
  /** DURABLE rows by namespace that Redis has not seen, since it last answered. */
  readonly #unqueued = new Map<string, number>();

  constructor(parts: Parts, queues: QueueBook, demand: Demand) {
    this.#parts = parts;
    this.#queues = queues;
    this.#demand = demand;
    this.#markers = new CommitMarkers(parts);
    this.#lanes = new LaneGuard(parts);
    this.#commits = new Batcher({
      run: (tasks) => this.#commit(tasks),
      maxItems: limits.submitItems,
      maxInFlight: 2,
      maxWaiting: limits.pendingSubmits,
    });
    this.#enqueues = new Batcher({
      run: (items) => this.#enqueue(items),
      maxItems: limits.submitItems,
      maxInFlight: 4,
      maxWaiting: limits.pendingSubmits,
    });
  }

  async drained(): Promise<void> {
    await this.#commits.drained();
    await this.#enqueues.drained();
    await this.#markers.flush();
  }

  submit(namespace: string, items: readonly Submission[]): Promise<SubmitOutcome[]> {
    return Promise.all(items.map((item) => this.#submitOne(namespace, item)));
  }

  async #submitOne(namespace: string, item: Submission): Promise<SubmitOutcome> {
    try {
      const name = item.draft.queue ?? "default";
      const queue = await this.#queues.settings(namespace, name);
      const now = this.#parts.clock.now();
      const spec = toSpec(item.draft, { namespace, queue, now });
      const id = this.#formId(spec, item.requestId, now);
      const traceContext = this.#parts.carrier?.atSubmit(id, spec.traceContext);
      const task = newTask(id, spec, traceContext);
      this.#queues.touch(namespace, spec.queue);
      const outcome = await (spec.durability === "durable"
        ? this.#durable(task)
        : this.#relaxed(task));
      if (outcome.kind === "submitted") this.#emit(task, now);
      return outcome;
    } catch (error) {
      return { kind: "refused", error: DroverError.from(error) };
    }
  }

  /**
   * P2: the id itself is the check, so a client's repeat of an unknown outcome needs no stored key.
   */
  #formId(spec: TaskSpec, requestId: string, now: number): string {
    const slot = slotOfQueue(spec.namespace, spec.queue);
    if (requestId === "") return formTaskId(now, slot, this.#parts.random.bytes(8));
    const id = parseTaskId(requestId);
    if (!id) {
      throw new DroverError("invalid_field", `expected a UUIDv7, got "${requestId.slice(0, 64)}"`, {
        field: "request_id",
      });
    }
    const time = timeOfId(id);
    if (Math.abs(now - time) > limits.submitIdAgeMs) {
      const agoS = Math.round((now - time) / 1000);
      const message = `request_id says it was made ${agoS} s ago; at most 600 either way count`;
      throw new DroverError("invalid_field", message, {
        field: "request_id",
        hint: "Make a fresh UUIDv7 for each task; check the client's clock.",
      });
    }
    const hash = createHash("sha256").update(`${spec.namespace}\0${spec.queue}\0${id}`).digest();
    return formTaskId(time, slot, hash);
  }

  async #durable(task: Task): Promise<SubmitOutcome> {
    this.#requireRoom(task.namespace);
    this.#lanes.check(laneOf(task));
    const outcome = await this.#commits.push(task);
    if (outcome.kind === "inserted") return { kind: "submitted", taskId: task.id };
    const holder = outcome.kind === "known" ? task.id : outcome.taskId;
    return this.#existing(task, holder, outcome.kind);
  }

  async #commit(tasks: Task[]): Promise<InsertOutcome[]> {
    const { outcomes, marker } = await this.#parts.history.insert(tasks);
    const inserted = tasks.filter((_, index) => outcomes[index]?.kind === "inserted");
    // OK does not wait for Redis: the row is what was promised, and the marker finds it should this
    // process die now.
    if (inserted.length > 0) void this.#enqueueCommitted(inserted, marker);
    return outcomes;
  }

  async #enqueueCommitted(tasks: Task[], marker: string | undefined): Promise<void> {
    try {
      const replies = await Promise.all(
        tasks.map((task) => this.#enqueues.push({ task, origin: "submit" })),
      );
      this.#unqueued.clear();
      const left = tasks.filter((_, n) => replies[n]?.outcome.kind === "too_many_lanes");
      for (const task of left) await this.#lanes.ranOut(task.namespace, task.queue);
      // What found no lane is found by the slow compare with history, once a lane is free.
      if (marker) this.#markers.clear(marker);
    } catch {
      // The marker stays and the reconciler enqueues from it; here only the bound is kept.
      for (const task of tasks) {
        this.#unqueued.set(task.namespace, (this.#unqueued.get(task.namespace) ?? 0) + 1);
      }
    }
  }

  #requireRoom(namespace: string): void {
    const unqueued = this.#unqueued.get(namespace) ?? 0;
    if (unqueued < limits.unqueuedRows) return;
    const message = `${unqueued} tasks are committed and wait for Redis to come back`;
    throw new DroverError("too_many_unqueued", message, { retryAfterMs: 5_000 });
  }

  async #relaxed(task: Task): Promise<SubmitOutcome> {
    const claimKey = task.idempotencyKey !== "";
    const { outcome } = await this.#enqueues.push({ task, origin: "submit", claimKey });
    switch (outcome.kind) {
      case "enqueued":
        this.#record(task, outcome.outboxId);
        return { kind: "submitted", taskId: task.id };
      case "known":
        return this.#existing(task, task.id, "known");
      case "key_taken":
        return this.#existing(task, outcome.taskId, "key_taken");
      case "outbox_full":
        throw new DroverError("outbox_full", "history is behind and the outbox is full", {
          retryAfterMs: 2_000,
        });
      case "too_many_lanes":
        throw tooManyLanes(task.queue);
      case "too_old":
        throw new DroverError("internal", "a new task was refused as too old");
    }
  }

  #record(task: Task, outboxId: string | undefined): void {
    const partition = slotOfQueue(task.namespace, task.queue) % this.#parts.broker.partitions;
    this.#parts.recorder
      .record({ partition, outboxId, task, payloadOmitted: false, attempt: undefined })
      // The outbox holds it: whoever sweeps records it later.
      .catch(() => undefined);
  }

  async #enqueue(items: EnqueueItem[]): Promise<Enqueued[]> {
    const lanes = lanesOf(items);
    const only = lanes.length === 1 ? lanes[0] : undefined;
    const eager = only && this.#demand.reserve(only);
    let leases: readonly Lease[] | undefined;
    try {
      const reply = await this.#parts.broker.enqueue(items, eager);
      leases = reply.leases;
      return reply.outcomes.map((outcome) => ({ outcome }));
    } finally {
      if (eager) this.#demand.took(eager, leases);
      if ((leases?.length ?? 0) < items.length) this.#demand.nudge(lanes);
    }
  }

  async #existing(task: Task, holder: string, why: "known" | "key_taken"): Promise<SubmitOutcome> {
    const [live] = await this.#parts.broker.get([holder]).catch(() => [undefined]);
    const [stored] = live ? [live] : await this.#parts.history.get(task.namespace, [holder]);
    if (stored && !sameSpec(stored, task, this.#parts.decodePayload)) {
      const [id, field] =
        why === "known"
          ? (["submit_id_conflict", "request_id"] as const)
          : (["idempotency_conflict", "task.idempotency_key"] as const);
      throw new DroverError(id, `task ${holder} was submitted with it, and differs from this one`, {
        field,
      });
    }
    return { kind: "existing", taskId: holder };
  }

  #emit(task: Task, since: number): void {
    const { namespace, queue, type, priority, traceContext } = task;
    this.#parts.events.emit("task.submitted", {
      namespace,
      queue,
      type,
      priority,
      taskId: task.id,
      traceContext,
      tookMs: Math.max(0, this.#parts.clock.now() - since),
    });
  }
}

export function laneOf(task: TaskSpec): Lane {
  const { namespace, queue, type, requiredLabels } = task;
  return { namespace, queue, type, requiredLabels };
}

function lanesOf(items: readonly EnqueueItem[]): Lane[] {
  const lanes = new Map<string, Lane>();
  for (const { task } of items) {
    if (task.status !== "pending") continue;
    const lane = laneOf(task);
    lanes.set(laneKey(lane), lane);
  }
  return [...lanes.values()];
}

/**
 * A task as it stands before anything happened to it. Every field is named: an object as wide as
 * this one, made by spreading, costs 90 us instead of half a microsecond (it leaves V8's fast
 * shape).
 */
export function newTask(id: string, spec: TaskSpec, traceContext = spec.traceContext): Task {
  const waits = spec.runAt !== undefined && spec.runAt > spec.createdAt;
  return {
    id,
    namespace: spec.namespace,
    queue: spec.queue,
    type: spec.type,
    priority: spec.priority,
    payload: spec.payload,
    maxRetries: spec.maxRetries,
    retry: spec.retry,
    runAt: spec.runAt,
    timeoutMs: spec.timeoutMs,
    groupKey: spec.groupKey,
    requiredLabels: spec.requiredLabels,
    tags: spec.tags,
    idempotencyKey: spec.idempotencyKey,
    retentionMs: spec.retentionMs,
    traceContext,
    durability: spec.durability,
    createdAt: spec.createdAt,
    terms: spec.terms,
    status: waits ? "scheduled" : "pending",
    version: 1,
    run: 1,
    attempt: 0,
    retryCount: 0,
    leaseLosses: 0,
    releases: 0,
    fencingToken: 0,
    sessionId: "",
    workerId: "",
    readyAt: waits ? spec.runAt : undefined,
    startedAt: undefined,
    completedAt: undefined,
    cancelRequestedAt: undefined,
    result: undefined,
    error: undefined,
    progress: undefined,
    cancellation: undefined,
    checkpoint: undefined,
  };
}
