import type { EnqueueItem, EnqueueOutcome, Transition } from "../broker/broker.js";
import { DroverError } from "../errors.js";
import type { InsertOutcome } from "../history/history.js";
import { limits } from "../limits.js";
import { newSpecOf, FreshTask, idOf, type NewTask, specOf, wholeOf } from "../task/fresh-task.js";
import { partitionOfSlot, slotOfId } from "../task/ids.js";
import { sameSpec } from "../task/same-spec.js";
import { defaultQueue, type QueueSettings, type Task, type TaskSpec } from "../task/task.js";
import { AlikeSubmission } from "./alike.js";
import { barred } from "./batch-errors.js";
import { Batcher, emptyPlaces, endOfTurn, Failed } from "./batcher.js";
import type { Submission, SubmitOutcome } from "./coordinator.js";
import { type Demand, Enqueuer } from "./enqueuer.js";
import { Intake, Target } from "./intake.js";
import { tooManyLanes } from "./lane-guard.js";
import type { Parts } from "./parts.js";
import type { QueueBook } from "./queue-book.js";
import { Turnstile } from "./turnstile.js";
import { outboxFull, UniqueDesk } from "./unique.js";

/** Tasks of one request that go the same way, each with its place in the request. */
interface Accepted<T> {
  readonly tasks: T[];
  readonly places: number[];
}

/** Queues of a request by name; undefined until it is read. */
type Targets = Map<string, Target | Failed | undefined>;

interface Request {
  readonly items: readonly Submission[];
  readonly targets: Targets;
  readonly outcomes: SubmitOutcome[];
  readonly intake: Intake;
}

type Answer = SubmitOutcome | Promise<SubmitOutcome>;

/**
 * Submission: judged, given an id, committed (DURABLE) or enqueued (RELAXED), and only then
 * acknowledged.
 */
export class Submitter {
  readonly #parts: Parts;
  readonly #queues: QueueBook;
  readonly #enqueuer: Enqueuer;
  readonly #commits: Batcher<NewTask, InsertOutcome>;
  readonly #unique: UniqueDesk;
  /** Tasks are taken in request by request: that is their order in their lanes. */
  readonly #turns = new Turnstile();
  readonly #targets = new WeakMap<QueueSettings, Target>();

  constructor(parts: Parts, queues: QueueBook, demand: Demand) {
    this.#parts = parts;
    this.#queues = queues;
    this.#enqueuer = new Enqueuer(parts, demand);
    this.#commits = new Batcher({
      run: (tasks) => this.#commit(tasks),
      maxItems: limits.submitItems,
      maxInFlight: 2,
      maxWaiting: limits.pendingSubmits,
    });
    this.#unique = new UniqueDesk(parts, {
      insert: (task) => this.#commits.push(task),
      committed: (task, marker) => this.#enqueuer.committed([task], marker),
    });
  }

  async drained(): Promise<void> {
    await this.#commits.drained();
    await this.#enqueuer.drained();
  }

  async submit(namespace: string, items: readonly Submission[]): Promise<SubmitOutcome[]> {
    const now = this.#parts.clock.now();
    const outcomes = emptyPlaces<SubmitOutcome>(items.length);
    const found = this.#targetsOf(namespace, items);
    const targets = found instanceof Promise ? await found : found;
    const request = { items, targets, outcomes, intake: new Intake(this.#parts, namespace, now) };
    const turn = this.#turns.enter();
    if (turn) await turn;
    const durable: Accepted<NewTask> = { tasks: [], places: [] };
    const answers: Promise<void>[] = [];
    try {
      for (let from = 0; from < items.length; from += portion) {
        // So that the broker works on some while others are read, and nobody waits for them all.
        if (from > 0) await endOfTurn();
        const relaxed: Accepted<EnqueueItem> = { tasks: [], places: [] };
        this.#accept(request, from, durable, relaxed);
        if (relaxed.tasks.length > 0) answers.push(this.#relaxed(relaxed, outcomes, now));
      }
      if (durable.tasks.length > 0) answers.push(this.#durable(durable, outcomes, now));
    } finally {
      this.#turns.leave();
    }
    if (answers.length === 1) await answers[0];
    else await Promise.all(answers);
    return outcomes;
  }

  /**
   * The queues of a request by name. Those that are not known are read side by side; what cannot be
   * read fails for all its tasks.
   */
  #targetsOf(namespace: string, items: readonly Submission[]): Targets | Promise<Targets> {
    const targets: Targets = new Map();
    let reads: Promise<unknown>[] | undefined;
    let last: string | undefined;
    for (const item of items) {
      const name = queueOf(item);
      if (name === last) continue;
      last = name;
      if (targets.has(name)) continue;
      const known = this.#queues.known(namespace, name);
      targets.set(name, known && this.#targetOf(known));
      if (!known) (reads ??= []).push(this.#readTarget(namespace, name, targets));
    }
    return reads ? Promise.all(reads).then(() => targets) : targets;
  }

  async #readTarget(namespace: string, name: string, targets: Targets): Promise<void> {
    try {
      targets.set(name, this.#targetOf(await this.#queues.settings(namespace, name)));
    } catch (error) {
      targets.set(name, new Failed(error));
    }
  }

  #targetOf(queue: QueueSettings): Target {
    const known = this.#targets.get(queue);
    if (known) return known;
    const target = new Target(queue);
    this.#targets.set(queue, target);
    return target;
  }

  /** A portion of the items, from one on: each where it goes, or refused. */
  #accept(
    { items, targets, outcomes, intake }: Request,
    from: number,
    durable: Accepted<NewTask>,
    relaxed: Accepted<EnqueueItem>,
  ): void {
    const to = Math.min(items.length, from + portion);
    let last: string | undefined;
    let target: Target | Failed | undefined;
    for (let place = from; place < to; place += 1) {
      const item = items[place]!;
      try {
        const name = queueOf(item);
        if (name !== last) target = targets.get(name);
        last = name;
        if (target instanceof Failed) throw target.error;
        const task = intake.make(item, target!);
        if (!target!.touched) this.#touch(target!);
        const spec = newSpecOf(task);
        if (spec.durability === "relaxed") {
          add(relaxed, task instanceof FreshTask ? task : asItem(task), place);
        } else {
          this.#enqueuer.requireRoom(spec);
          add(durable, task, place);
        }
      } catch (error) {
        outcomes[place] = { kind: "refused", error: DroverError.from(error) };
      }
    }
  }

  #touch(target: Target): void {
    const { namespace, name } = target.queue;
    this.#queues.touch(namespace, name);
    target.touched = true;
  }

  /** What the broker or history answered for each -> its outcome. */
  async #settleAll(
    { places }: Accepted<unknown>,
    outcomes: SubmitOutcome[],
    answerOf: (nth: number) => Answer,
  ): Promise<void> {
    const later: Promise<void>[] = [];
    for (let nth = 0; nth < places.length; nth += 1) {
      const place = places[nth]!;
      const answer = answerOf(nth);
      if (answer instanceof Promise) {
        later.push(answer.then((outcome) => void (outcomes[place] = outcome)));
      } else outcomes[place] = answer;
    }
    if (later.length > 0) await Promise.all(later);
  }

  async #durable(
    accepted: Accepted<NewTask>,
    outcomes: SubmitOutcome[],
    since: number,
  ): Promise<void> {
    const { tasks, places } = accepted;
    const replies = await this.#commits.pushAll(tasks);
    await this.#settleAll(accepted, outcomes, (nth) => {
      const { id } = tasks[nth]!;
      const outcome = replies[nth]!;
      if (outcome instanceof Failed) return refused(outcome.error);
      if (outcome.kind === "inserted") return { kind: "submitted", taskId: id };
      const task = wholeOf(tasks[nth]!);
      if (outcome.kind === "barred") return refused(barred(task, outcome.why));
      if (outcome.kind === "unique_taken") return this.#unique.resolve(task, outcome.taskId);
      const holder = outcome.kind === "known" ? task.id : outcome.taskId;
      return this.#existing(task, holder, outcome.kind);
    });
    const tookMs = Math.max(0, this.#parts.clock.now() - since);
    for (let nth = 0; nth < tasks.length; nth += 1) {
      const task = tasks[nth]!;
      if (isNew(outcomes[places[nth]!]!)) this.#emit(task.id, newSpecOf(task), tookMs);
    }
  }

  async #commit(tasks: NewTask[]): Promise<InsertOutcome[]> {
    const { outcomes, marker } = await this.#parts.history.insert(tasks);
    const inserted = tasks.filter((_, index) => outcomes[index]?.kind === "inserted");
    // OK does not wait for Redis: the row is what was promised, and the marker finds it should this
    // process die now.
    if (inserted.length > 0) void this.#enqueuer.committed(inserted, marker);
    return outcomes;
  }

  /** Tasks whose rows another statement has committed, under this marker. */
  enqueueTaken(tasks: readonly Task[], marker: string | undefined): void {
    if (tasks.length === 0) return;
    void this.#enqueuer.committed([...tasks], marker);
    const now = this.#parts.clock.now();
    for (const task of tasks) this.#emit(task.id, task, Math.max(0, now - task.createdAt));
  }

  async #relaxed(
    accepted: Accepted<EnqueueItem>,
    outcomes: SubmitOutcome[],
    since: number,
  ): Promise<void> {
    const { tasks: items, places } = accepted;
    const replies = await this.#enqueuer.enqueue(items);
    await this.#settleAll(accepted, outcomes, (nth) => {
      const reply = replies[nth]!;
      return reply instanceof Failed ? refused(reply.error) : this.#taken(items[nth]!, reply);
    });
    const tookMs = Math.max(0, this.#parts.clock.now() - since);
    for (let nth = 0; nth < items.length; nth += 1) {
      const item = items[nth]!;
      if (isNew(outcomes[places[nth]!]!)) this.#emit(idOf(item), specOf(item), tookMs);
    }
  }

  #taken(item: EnqueueItem, outcome: EnqueueOutcome): Answer {
    if (outcome.kind === "enqueued") {
      if (!outcome.born) this.#record(item.task, outcome);
      return { kind: "submitted", taskId: idOf(item) };
    }
    const { task } = item;
    switch (outcome.kind) {
      case "known":
        return this.#existing(task, task.id, "known");
      case "key_taken":
        return this.#existing(task, outcome.taskId, "key_taken");
      case "outbox_full":
        return refused(outboxFull());
      case "too_many_lanes":
        return refused(tooManyLanes(task.queue));
      case "too_old":
        return refused(new DroverError("internal", "a new task was refused as too old"));
    }
  }

  #record(
    task: Task,
    { outboxId, outboxPlace }: Pick<Transition, "outboxId" | "outboxPlace">,
  ): void {
    const partition = partitionOfSlot(slotOfId(task.id), this.#parts.broker.partitions);
    const told = { partition, outboxId, outboxPlace, task };
    this.#parts.recorder.keep({ ...told, payloadOmitted: false, attempt: undefined });
  }

  async #existing(task: Task, holder: string, why: "known" | "key_taken"): Promise<SubmitOutcome> {
    try {
      const [live] = await this.#parts.broker.get([holder]).catch(() => [undefined]);
      const [stored] = live ? [live] : await this.#parts.history.get(task.namespace, [holder]);
      const queue = await this.#queues.settings(task.namespace, task.queue);
      const same = !stored || sameSpec(stored, task, this.#parts.decodePayload, queue);
      if (!same) throw conflict(holder, why);
      return { kind: "existing", taskId: holder };
    } catch (error) {
      return refused(error);
    }
  }

  #emit(taskId: string, spec: TaskSpec, tookMs: number): void {
    const { namespace, queue, type, priority, traceContext } = spec;
    const fields = { namespace, queue, type, priority, taskId, traceContext, tookMs };
    this.#parts.events.emit("task.submitted", fields);
  }
}

/** Tasks of a request that are taken in before others have their turn. */
const portion = 200;

const queueOf = (item: Submission): string =>
  (item instanceof AlikeSubmission ? item.shared.queue : item.draft.queue) ?? defaultQueue;

function add<T>({ tasks, places }: Accepted<T>, task: T, place: number): void {
  tasks.push(task);
  places.push(place);
}

const isNew = ({ kind }: SubmitOutcome): boolean =>
  kind === "submitted" || kind === "replaced" || kind === "debounced";

const asItem = (task: Task): EnqueueItem => {
  return { task, origin: "submit", claimKey: task.idempotencyKey !== "" };
};

const refused = (error: unknown): SubmitOutcome => ({
  kind: "refused",
  error: DroverError.from(error),
});

function conflict(holder: string, why: "known" | "key_taken"): DroverError {
  const [id, field] =
    why === "known"
      ? (["submit_id_conflict", "request_id"] as const)
      : (["idempotency_conflict", "task.idempotency_key"] as const);
  const message = `task ${holder} was submitted with it, and differs from this one`;
  return new DroverError(id, message, { field });
}
