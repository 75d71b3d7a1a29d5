import { DroverError } from "../errors.js";
import type { InsertOutcome } from "../history/history.js";
import { isFinal, type Task } from "../task/task.js";
import type { SubmitOutcome } from "./coordinator.js";
import type { Parts } from "./parts.js";

/** History is told of the end of a holder within milliseconds, unless it is away. */
const patienceMs = 5_000;
const againMs = 50;

/** What becomes of a submission whose unique key is taken. */
export class UniqueDesk {
  readonly #parts: Parts;
  readonly #insert: (task: Task) => Promise<InsertOutcome>;

  /** `insert` tries once more to commit the task. */
  constructor(parts: Parts, insert: (task: Task) => Promise<InsertOutcome>) {
    this.#parts = parts;
    this.#insert = insert;
  }

  /** Never rejects. */
  async resolve(task: Task, holder: string): Promise<SubmitOutcome> {
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
      if (await this.#holds(holder)) return answer(task, holder);
      if (clock.monotonic() > endsAt) {
        const message = `task ${holder} gives its unique key back once history is told of it`;
        throw new DroverError("history_unavailable", message, { retryAfterMs: 1_000 });
      }
      await clock.sleep(againMs);
      const outcome = await this.#insert(task);
      if (outcome.kind === "inserted") return { kind: "submitted", taskId: task.id };
      if (outcome.kind === "known") return { kind: "existing", taskId: task.id };
      holder = outcome.taskId;
      if (outcome.kind === "key_taken") return { kind: "existing", taskId: holder };
    }
  }

  /** Without the broker, history's word counts. */
  async #holds(holder: string): Promise<boolean> {
    const [live] = await this.#parts.broker.get([holder]).catch(() => [undefined]);
    const scope = live?.terms?.unique?.scope;
    if (!live || scope === "for_time") return true;
    const started = scope === "until_started" && live.startedAt !== undefined;
    return !started && !isFinal(live.status);
  }
}

function answer({ terms }: Task, holder: string): SubmitOutcome {
  if (terms?.unique?.onConflict !== "reject") return { kind: "existing", taskId: holder };
  const message = `task.unique_key: task ${holder} holds it`;
  throw new DroverError("unique_conflict", message, { field: "task.unique_key" });
}
