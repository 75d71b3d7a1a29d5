import { describe, expect, test } from "vitest";
import type { Transition } from "../../src/broker/broker.js";
import type { History, RecordOutcome } from "../../src/history/history.js";
import type { Attempt, AttemptOutcome, Task } from "../../src/task/task.js";
import { createSeededRandom } from "../support/seeded-random.js";
import type { HistoryScene } from "./history.js";
import { countedFinals, shownCounts } from "./history-harness.js";

interface Life {
  readonly transitions: Transition[];
  readonly attempts: Attempt[];
  /** As the last transition left it. */
  readonly last: Task;
}

/** How one grant may end, and what the task then is. */
const ends: readonly [AttemptOutcome, Task["status"]][] = [
  ["failed", "retrying"],
  ["timeout", "retrying"],
  ["released", "pending"],
  ["lost", "pending"],
  ["failed", "failed"],
  ["cancelled", "cancelled"],
];

/** A task as brokers tell it: submitted, granted some times, ended or not. */
class Story {
  readonly transitions: Transition[] = [];
  readonly attempts: Attempt[] = [];
  task: Task;
  #fencing: number;
  #events = 0;

  constructor(task: Task, fencing: number) {
    this.task = task;
    this.#fencing = fencing;
    if (task.durability === "relaxed") this.#tell({ ...task }, undefined, false);
  }

  grant(toldRunning: boolean): void {
    this.#fencing += 1;
    const { createdAt } = this.task;
    this.task = {
      ...this.task,
      status: "running",
      version: this.task.version + 1,
      attempt: this.task.attempt + 1,
      fencingToken: this.#fencing,
      sessionId: `session-${this.#fencing % 3}`,
      workerId: "worker",
      readyAt: undefined,
      startedAt: createdAt + 10 * this.#fencing,
    };
    if (toldRunning) this.#tell(this.task, this.#attempt(undefined, undefined), true);
  }

  end(outcome: AttemptOutcome, status: Task["status"]): void {
    const endedAt = this.task.startedAt! + 7;
    const error =
      outcome === "failed" ? { code: "boom", message: "no", retryable: true } : undefined;
    const attempt = { ...this.#attempt(endedAt, outcome), error };
    this.task = {
      ...this.task,
      status,
      version: this.task.version + 1,
      error: error ?? this.task.error,
      readyAt: status === "retrying" ? endedAt + 4_000_000_000 : undefined,
      completedAt: status === "pending" || status === "retrying" ? undefined : endedAt,
    };
    const known = this.attempts.findIndex((one) => one.fencingToken === attempt.fencingToken);
    if (known >= 0) this.attempts[known] = attempt;
    else this.attempts.push(attempt);
    this.#tell(this.task, attempt, this.task.durability === "durable");
  }

  /** A result that came after its lease was lost, and before another grant. */
  endLate(): void {
    this.task = { ...this.task, status: "running" };
    this.end("completed", "completed");
  }

  #attempt(endedAt: number | undefined, outcome: AttemptOutcome | undefined): Attempt {
    const { id, fencingToken, attempt, run, sessionId, workerId, startedAt } = this.task;
    const base = { fencingToken, attempt, run, sessionId, workerId, startedAt: startedAt! };
    return { taskId: id, ...base, endedAt, outcome, error: undefined };
  }

  #tell(task: Task, attempt: Attempt | undefined, payloadOmitted: boolean): void {
    this.#events += 1;
    this.transitions.push({
      partition: 0,
      outboxId: attempt?.endedAt === undefined && attempt ? undefined : `${this.#events}-0`,
      outboxPlace: 0,
      task: payloadOmitted ? { ...task, payload: undefined } : task,
      payloadOmitted,
      attempt,
    });
  }
}

/** Replays, reordering and coalescing leave what happened, whatever the batches (H2, H3). */
export function exerciseLives(scene: () => HistoryScene): void {
  describe("lives of tasks, told in any order", () => {
    const seeds = [1, 2, 3, 4, 5, 6];

    test.each(seeds)("leave the last state and every attempt (H2, H3), seed %i", async (seed) => {
      const { history, other, namespace, query } = scene();
      const random = createSeededRandom(seed);
      const next = () => random.next();
      const lives = Array.from({ length: 60 }, () => live(scene(), next));
      const durable = lives.filter(({ last }) => last.durability === "durable");
      await history.insert(durable.map(({ last, first }) => ({ ...first, payload: last.payload })));
      await tell(
        [history, other],
        lives.flatMap(({ transitions }) => transitions),
        next,
      );

      const read = await history.get(
        namespace,
        lives.map(({ last }) => last.id),
      );
      for (const [index, { last, attempts }] of lives.entries()) {
        expect({ ...read[index], payload: undefined }).toEqual({ ...last, payload: undefined });
        expect(Buffer.from(read[index]!.payload!.data)).toEqual(Buffer.from(last.payload!.data));
        expect(await other.attempts(namespace, last.id)).toEqual(attempts);
      }
      expect(shownCounts(await history.finalCounts(namespace))).toEqual(
        await countedFinals(history, query()),
      );
    });
  });
}

function live({ task }: HistoryScene, next: () => number): Life & { readonly first: Task } {
  const first = task({ durability: next() < 0.5 ? "relaxed" : "durable" });
  const story = new Story(first, Math.floor(next() * 1_000) + 1);
  for (let grants = Math.floor(next() * 4); grants > 0; grants -= 1) {
    story.grant(next() < 0.3);
    if (grants === 1 && next() < 0.8) {
      story.end("completed", "completed");
      break;
    }
    const [outcome, status] = ends[Math.floor(next() * ends.length)]!;
    story.end(outcome, status);
    if (status === "failed" || status === "cancelled") break;
    if (outcome === "lost" && next() < 0.3) {
      story.endLate();
      break;
    }
  }
  return { first, last: story.task, transitions: story.transitions, attempts: story.attempts };
}

/** In batches of any size, some twice, until none is missing its row. */
async function tell(
  histories: readonly History[],
  transitions: readonly Transition[],
  next: () => number,
): Promise<void> {
  const twice = transitions.filter(() => next() < 0.15);
  let left = [...transitions, ...twice];
  for (let round = 0; left.length > 0; round += 1) {
    expect(round).toBeLessThan(10);
    const again: Transition[] = [];
    left = shuffled(left, next);
    while (left.length > 0) {
      const batches = histories.map(() => left.splice(0, 1 + Math.floor(next() * 60)));
      const answers = await Promise.all(batches.map((batch, at) => histories[at]!.record(batch)));
      const missing = (outcome: RecordOutcome) => outcome === "missing";
      for (const [at, batch] of batches.entries()) {
        again.push(...batch.filter((_, index) => missing(answers[at]![index]!)));
        expect(answers[at]).not.toContain("refused");
      }
    }
    left = again;
  }
}

function shuffled<T>(items: readonly T[], next: () => number): T[] {
  const keys = items.map((item) => ({ item, key: next() }));
  return keys.toSorted((a, b) => a.key - b.key).map(({ item }) => item);
}
