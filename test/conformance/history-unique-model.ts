import fc from "fast-check";
import { expect, test } from "vitest";
import { isFinal, type Task, type UniqueScope } from "../../src/task/task.js";
import type { HistoryScene } from "./history.js";
import { ended, told } from "./history-harness.js";

const keys = ["k", "l"] as const;
const windowMs = 15_000;
/** Time passes by steps that no run comes near, so that a store's own pace never decides a case. */
const stepMs = 10_000;

interface Kept {
  readonly task: Task;
  status: Task["status"];
}

/** Who holds what, told as plainly as possible. */
class Reference {
  readonly tasks: Kept[] = [];
  readonly #held = new Map<string, { id: string; scope: UniqueScope; until: number }>();
  #now = 0;

  holderOf(key: string): string | undefined {
    const held = this.#held.get(key);
    return held && held.until > this.#now ? held.id : undefined;
  }

  add(task: Task): void {
    this.tasks.push({ task, status: task.status });
    const { key, scope } = task.terms!.unique!;
    if (this.holderOf(key) !== undefined) return;
    const until = scope === "for_time" ? this.#now + windowMs : Infinity;
    this.#held.set(key, { id: task.id, scope, until });
  }

  change(kept: Kept, status: Task["status"]): void {
    kept.status = status;
    const { key, scope } = kept.task.terms!.unique!;
    if (this.#held.get(key)?.id !== kept.task.id || scope === "for_time") return;
    if (isFinal(status) || scope === "until_started") this.#held.delete(key);
  }

  replace(kept: Kept, successor: Task): void {
    kept.status = "cancelled";
    const { key } = kept.task.terms!.unique!;
    if (this.#held.get(key)?.id === kept.task.id) this.#held.delete(key);
    this.add(successor);
  }

  age(ms: number): void {
    this.#now += ms;
  }
}

const step = fc.record({
  kind: fc.constantFrom("insert", "insert", "insert", "start", "end", "replace", "again", "age"),
  key: fc.constantFrom(...keys),
  scope: fc.constantFrom<UniqueScope>("until_final", "until_started", "for_time"),
  at: fc.nat({ max: 99 }),
});
type Step = typeof step extends fc.Arbitrary<infer T> ? T : never;

let runs = 0;

/** H1: random lives of tasks with unique keys, on a history and on a naive reference. */
export function exerciseUniqueModel(scene: () => HistoryScene): void {
  test("unique keys stand as in a naive reference, after every step of random lives (H1)", () =>
    fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 25 }), async (steps) => {
        runs += 1;
        const model = new Reference();
        const queue = `unique-${runs}`;
        for (const one of steps) await run(scene(), model, one, queue);
        await expectHolders(scene(), model, queue);
      }),
      { numRuns: 12 },
    ));
}

const make = ({ task }: HistoryScene, queue: string, key: string, scope: UniqueScope): Task => {
  const rule = { key, scope, onConflict: "reject" as const };
  const window = scope === "for_time" ? windowMs : undefined;
  return task({ queue, terms: { unique: { ...rule, windowMs: window } } });
};

async function run(scene: HistoryScene, model: Reference, one: Step, queue: string): Promise<void> {
  const { history } = scene;
  const fresh = () => make(scene, queue, one.key, one.scope);
  const live = model.tasks.filter(({ status }) => !isFinal(status));
  const kept = live[one.at % Math.max(1, live.length)];
  if (one.kind === "age") {
    await scene.harness.age(stepMs);
    return model.age(stepMs);
  }
  if (one.kind === "insert") return insert(scene, model, fresh());
  if (!kept) return;
  if (one.kind === "again") {
    expect((await history.insert([kept.task])).outcomes).toEqual([{ kind: "known" }]);
    return;
  }
  const grown = { ...kept.task, version: kept.status === "running" ? 2 : 1 };
  if (one.kind === "start" && kept.status !== "running") {
    const running = { status: "running", startedAt: 5, attempt: 1, fencingToken: 7 } as const;
    expect(await history.record([told(grown, running)])).toEqual(["applied"]);
    model.change(kept, "running");
  } else if (one.kind === "end") {
    expect(await history.record([ended(grown, "completed")])).toEqual(["applied"]);
    model.change(kept, "completed");
  } else if (one.kind === "replace" && kept.status !== "running") {
    const successor = make(scene, queue, kept.task.terms!.unique!.key, one.scope);
    const transition = { ...ended(grown, "cancelled"), successor };
    expect(await history.record([transition])).toEqual(["applied"]);
    expect(await history.record([transition])).toEqual(["superseded"]);
    model.replace(kept, successor);
  }
}

async function insert({ history }: HistoryScene, model: Reference, task: Task): Promise<void> {
  const holder = model.holderOf(task.terms!.unique!.key);
  const { outcomes } = await history.insert([task]);
  const taken = { kind: "unique_taken", taskId: holder };
  expect(outcomes).toEqual([holder === undefined ? { kind: "inserted" } : taken]);
  if (holder === undefined) model.add(task);
}

/** The last word on each key: whoever asks for it now is told its holder, or wins it. */
async function expectHolders(scene: HistoryScene, model: Reference, queue: string): Promise<void> {
  for (const key of keys) await insert(scene, model, make(scene, queue, key, "until_final"));
}
