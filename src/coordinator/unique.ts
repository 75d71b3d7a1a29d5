import type { ReplaceItem, ReplaceReply, Transition } from "../broker/broker.js";
import { DroverError } from "../errors.js";
import type { InsertOutcome } from "../history/history.js";
import { limits } from "../limits.js";
import { slotOfId } from "../task/ids.js";
import { isFinal, type Task } from "../task/task.js";
import { barred } from "./batch-errors.js";
import { Batcher, Failed } from "./batcher.js";
import type { SubmitOutcome } from "./coordinator.js";
import type { Parts } from "./parts.js";
import { partitionwise } from "./partitionwise.js";

/**
 * History is told of the end of a holder within milliseconds, unless it is away, or whoever was to
 * tell it has died: then the outbox is drained.
 */
const patienceMs = limits.outboxIdleMs + 5_000;
const againMs = 50;
/** Submissions that wait for their turn to replace a holder, of all keys. */
const turnsMax = 2_000;

const slotOfReplaced = ({ taskId }: ReplaceItem): number => slotOfId(taskId);

/** How the desk commits and enqueues. */
export interface UniqueDeskPorts {
  /** Tries once more to commit the task. */
  insert(task: Task): Promise<InsertOutcome>;
  /** A task that history holds, under this marker. Never rejects. */
  committed(task: Task, marker: string): Promise<void>;
}

/** What becomes of a submission whose unique key is taken. */
export class UniqueDesk {
  readonly #parts: Parts;
  readonly #ports: UniqueDeskPorts;
  readonly #replacements: Batcher<ReplaceItem, ReplaceReply>;
  /** Those who replace the holders of one key take turns: each the place of the one before. */
  readonly #turns = new Map<string, Promise<SubmitOutcome>>();
  #waiting = 0;

  constructor(parts: Parts, ports: UniqueDeskPorts) {
    this.#parts = parts;
    this.#ports = ports;
    this.#replacements = new Batcher({
      run: (items) =>
        partitionwise(parts.broker, items, slotOfReplaced, (some) => parts.broker.replace(some)),
      maxItems: limits.submitItems,
      maxInFlight: 2,
      maxWaiting: limits.pendingSubmits,
    });
  }

  /** Never rejects. */
  async resolve(task: Task, holder: string): Promise<SubmitOutcome> {
    if (!replaces(task)) return this.#judge(task, holder);
    if (this.#waiting >= turnsMax) return { kind: "refused", error: tooMany() };
    this.#waiting += 1;
    const key = JSON.stringify([task.namespace, task.queue, task.terms!.unique!.key]);
    const before = this.#turns.get(key);
    const turn = before
      ? before.then((last) => this.#judge(task, last.kind === "refused" ? holder : last.taskId))
      : this.#judge(task, holder);
    this.#turns.set(key, turn);
    const outcome = await turn;
    this.#waiting -= 1;
    if (this.#turns.get(key) === turn) this.#turns.delete(key);
    return outcome;
  }

  async #judge(task: Task, holder: string): Promise<SubmitOutcome> {
    try {
      return await this.#resolve(task, holder);
    } catch (error) {
      return { kind: "refused", error: DroverError.from(error) };
    }
  }

  /**
   * A holder that has ended (or started, where that counts) in the broker holds its key until
   * history knows: the insert is repeated until it does, or another one holds it.
   */
  async #resolve(task: Task, first: string): Promise<SubmitOutcome> {
    const { clock } = this.#parts;
    const endsAt = clock.monotonic() + patienceMs;
    for (let holder = first; ;) {
      const answer = replaces(task)
        ? await this.#replace(task, holder)
        : await this.#keep(task, holder);
      if (answer) return answer;
      if (clock.monotonic() > endsAt) throw tooLong(holder);
      await clock.sleep(againMs);
      const outcome = await this.#ports.insert(task);
      if (outcome.kind === "inserted") return { kind: "submitted", taskId: task.id };
      if (outcome.kind === "barred") throw barred(task, outcome.why);
      if (outcome.kind === "known") return { kind: "existing", taskId: task.id };
      holder = outcome.taskId;
      if (outcome.kind === "key_taken") return { kind: "existing", taskId: holder };
    }
  }

  /** Without the broker, history's word counts. */
  async #keep(task: Task, holder: string): Promise<SubmitOutcome | undefined> {
    const [live] = await this.#parts.broker.get([holder]).catch(() => [undefined]);
    return !live || this.#holds(live) ? answerOf(task, holder) : undefined;
  }

  /** The broker alone can say that nobody runs the holder, so it has to answer. */
  async #replace(task: Task, holder: string): Promise<SubmitOutcome | undefined> {
    const [live] = await this.#parts.broker.get([holder]);
    const existing = { kind: "existing", taskId: holder } as const;
    if (!live) return (await this.#outlivesIt(task, holder)) ? existing : undefined;
    if (!this.#holds(live)) return undefined;
    const scope = live.terms?.unique?.scope;
    const [reply] = await this.#replacements.pushAll([
      {
        taskId: holder,
        namespace: task.namespace,
        successor: task,
        unstarted: scope === "until_started",
        reason: `replaced by task ${task.id}, which has the same unique key`,
      },
    ]);
    if (reply instanceof Failed) throw reply.error;
    if (reply!.kind === "replaced") return this.#replaced(task, reply!.transition);
    if (reply!.kind === "outbox_full") throw outboxFull();
    const stays = reply!.kind === "held" || (reply!.kind === "over" && scope === "for_time");
    return stays ? existing : undefined;
  }

  /** Who was to tell history of a start may have died: then this one does. */
  #holds(live: Task): boolean {
    const held = holds(live);
    if (!held && live.status === "running") this.#parts.recorder.running(live);
    return held;
  }

  /**
   * Whether the key is held for a time by a task that has ended. A live one that the broker does
   * not know was committed a moment ago.
   */
  async #outlivesIt({ namespace }: Task, holder: string): Promise<boolean> {
    const [row] = await this.#parts.history.get(namespace, [holder]);
    return row !== undefined && isFinal(row.status) && row.terms?.unique?.scope === "for_time";
  }

  async #replaced(task: Task, transition: Transition): Promise<SubmitOutcome | undefined> {
    const outcome = await this.#parts.recorder.record(transition);
    const { namespace, queue, type, id: taskId, traceContext } = transition.task;
    this.#parts.events.emit("task.cancelled", { namespace, queue, type, taskId, traceContext });
    if (outcome !== "applied") {
      // Somebody else told it, or the store went back a second and it ended otherwise.
      const { kind } = await this.#ports.insert(task);
      if (kind === "inserted") return { kind: "submitted", taskId: task.id };
      if (kind !== "known") return undefined;
    }
    // The store may have been emptied and filled again meanwhile, with the holder in it.
    await this.#parts.broker.bury([transition.task]).catch(() => undefined);
    await this.#ports.committed(task, task.id);
    const debounced = task.terms?.unique?.onConflict === "debounce";
    return { kind: debounced ? "debounced" : "replaced", taskId: task.id };
  }
}

const replaces = ({ terms }: Task): boolean =>
  terms?.unique?.onConflict === "replace" || terms?.unique?.onConflict === "debounce";

function holds({ terms, startedAt, status }: Task): boolean {
  const scope = terms?.unique?.scope;
  if (scope === "for_time") return true;
  if (scope === "until_started" && startedAt !== undefined) return false;
  return !isFinal(status);
}

function answerOf({ terms }: Task, holder: string): SubmitOutcome {
  if (terms?.unique?.onConflict !== "reject") return { kind: "existing", taskId: holder };
  const message = `task.unique_key: task ${holder} holds it`;
  throw new DroverError("unique_conflict", message, { field: "task.unique_key" });
}

function tooMany(): DroverError {
  const message = `${turnsMax} submissions wait to take the place of holders of unique keys`;
  return new DroverError("overloaded", message, { retryAfterMs: 1_000 });
}

function tooLong(holder: string): DroverError {
  const message = `task ${holder} gives its unique key back once history is told of it`;
  return new DroverError("history_unavailable", message, { retryAfterMs: 1_000 });
}

export const outboxFull = (): DroverError =>
  new DroverError("outbox_full", "history is behind and the outbox is full", {
    retryAfterMs: 250,
  });
