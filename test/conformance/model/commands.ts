import fc from "fast-check";
import { expect } from "vitest";
import type {
  Lane,
  Lease,
  LeaseReply,
  LeaseRequest,
  SettledLeased,
  Settlement,
  SweepReply,
} from "../../../src/broker/broker.js";
import { limits } from "../../../src/limits.js";
import { isFinal, type Durability, type Task } from "../../../src/task/task.js";
import { failure, type Ending } from "../broker/kit.js";
import { command, indexes, pick, sessionIds, type Step } from "./command.js";
import { waits, type Real } from "./compare.js";
import { choiceOf, followGrants, runningOf } from "./grants.js";
import { followOutbox } from "./outbox-order.js";
import { completeMany } from "./many.js";
import {
  hex,
  laneNameOf,
  viewOfEnd,
  type ModelLease,
  type ModelTask,
  type ReferenceBroker,
} from "./reference.js";
import { cut, leave, open, renew } from "./session-commands.js";
import { itemOf } from "../../support/outbox-items.js";

const queues = ["q1", "q2"] as const;
const types = ["a", "b"] as const;
const allLanes: readonly Lane[] = queues.flatMap((queue) =>
  types.map((type) => ({ namespace: "default", queue, type, requiredLabels: {} })),
);

/**
 * Delays end in 5 s while the clock moves by 10 s, so that a store's own pace never decides a case.
 */
const delays = fc.constantFrom(5_000, 15_000, 25_000);

// --- tasks come in

const rarely = (...values: number[]) =>
  fc.option(fc.constantFrom(...values), { nil: undefined, freq: 4 });

const taskInput = fc.record({
  queue: fc.constantFrom(...queues),
  type: fc.constantFrom(...types),
  priority: fc.constantFrom(0, 1, 2, 3),
  groupKey: fc.constantFrom("", "", "g1", "g2"),
  delayMs: fc.oneof({ weight: 3, arbitrary: fc.constant(0) }, { weight: 1, arbitrary: delays }),
  durability: fc.constantFrom("durable", "relaxed"),
  timeoutMs: fc.constantFrom(25_000, 900_000),
  expireInMs: rarely(15_000, 25_000),
  deadlineInMs: rarely(15_000, 35_000),
  heartbeatTimeoutMs: rarely(15_000),
});

type TaskInput = typeof taskInput extends fc.Arbitrary<infer T> ? T : never;

async function enqueueBoth(
  model: ReferenceBroker,
  real: Real,
  inputs: readonly TaskInput[],
  eager: string | undefined,
): Promise<void> {
  const now = await real.broker.now();
  const tasks = inputs.map(({ delayMs, expireInMs, deadlineInMs, heartbeatTimeoutMs, ...spec }) =>
    real.make({
      ...spec,
      ...(delayMs > 0 ? { runAt: now + delayMs } : {}),
      // One without comes in by a shorter way.
      ...((expireInMs ?? deadlineInMs ?? heartbeatTimeoutMs) && {
        terms: {
          expireAt: expireInMs && now + expireInMs,
          deadline: deadlineInMs && now + deadlineInMs,
          heartbeatTimeoutMs,
        },
      }),
    } as Partial<Task>),
  );
  real.made.push(...tasks);
  const waiting = new Set(
    model
      .all()
      .filter((task) => isReady(task) && !model.isOver(task))
      .map((task) => task.lane),
  );
  const items = tasks.map((task) => ({ task, origin: "submit" as const }));
  const sessionId = eager ?? "";
  const request = {
    partition: 0,
    lanes: allLanes,
    sessions: [{ sessionId, generation: generationOf(model, sessionId), slots: 2 }],
    maxBytes: limits.leaseBatchBytes,
  };
  const before = model.outbox.length;
  const reply = await real.broker.enqueue(items, eager ? request : undefined);
  for (const [index, task] of tasks.entries()) {
    const kind = model.enqueue(task, "submit", inputs[index]!);
    const outcome = reply.outcomes[index]!;
    expect(outcome.kind).toBe(kind);
    const told = outcome.kind === "enqueued" && outcome.outboxId !== undefined;
    expect(told).toBe(task.durability === "relaxed");
  }
  followOutbox(
    model,
    before,
    reply.outcomes.map((outcome) => (outcome.kind === "enqueued" ? outcome : undefined)),
  );
  real.births.push(...reply.births);
  followEager(model, sessionId, waiting, reply.leases);
}

const plainInput = { groupKey: "", delayMs: 0, timeoutMs: 900_000 } as const;
const noTimes = { expireInMs: undefined, deadlineInMs: undefined, heartbeatTimeoutMs: undefined };

/** Tasks that came together; those that are alike stand together. RELAXED ones are born so. */
const bear = fc
  .record({
    durability: fc.constantFrom<Durability>("relaxed", "durable"),
    queue: fc.constantFrom(...queues),
    count: fc.integer({ min: 1, max: 9 }),
    alike: fc.constantFrom(true, true, false),
    eager: fc.option(fc.constantFrom(...sessionIds), { nil: undefined, freq: 3 }),
  })
  .map((input) =>
    command("bear", input, async (model, real) => {
      const inputs = Array.from({ length: input.count }, (_, n) => ({
        ...plainInput,
        ...noTimes,
        queue: input.queue,
        durability: input.durability,
        type: types[input.alike ? 0 : n % 2]!,
        priority: 1 as const,
      }));
      const before = real.births.length;
      await enqueueBoth(model, real, inputs, input.eager);
      // Those of each lane may go by a call of their own.
      const born = real.births.slice(before).flatMap(({ ids }) => ids);
      expect(new Set(born).size).toBe(input.durability === "relaxed" ? input.count : 0);
      expect(born).toHaveLength(new Set(born).size);
    }),
  );

const enqueue = fc
  .record({
    tasks: fc.array(taskInput, { minLength: 1, maxLength: 6 }),
    eager: fc.option(fc.constantFrom(...sessionIds), { nil: undefined, freq: 4 }),
  })
  .map((input) =>
    command("enqueue", input, (model, real) => enqueueBoth(model, real, input.tasks, input.eager)),
  );

/** A backlog on two levels, so that grants from below the top one become due. */
const flood = fc.record({ queue: fc.constantFrom(...queues) }).map((input) =>
  command("flood", input, async (model, real) => {
    const inputs = Array.from({ length: 24 }, (_, n) => ({
      ...plainInput,
      ...noTimes,
      durability: "durable" as const,
      queue: input.queue,
      type: types[n % 2]!,
      priority: n % 4 === 0 ? (0 as const) : (3 as const),
    }));
    await enqueueBoth(model, real, inputs, undefined);
  }),
);

const isReady = ({ status }: ModelTask): boolean => status === "pending";

const generationOf = (model: ReferenceBroker, sessionId: string): number =>
  model.sessions.get(sessionId)?.generation ?? 1;

/** Eager grants are free to be fewer, never to be others: only of lanes where nothing waited. */
function followEager(
  model: ReferenceBroker,
  sessionId: string,
  waiting: ReadonlySet<string>,
  leases: readonly Lease[],
): void {
  expect(leases.length).toBeLessThanOrEqual(2);
  if (leases.length > 0) expect([model.cold, model.isLive(sessionId)]).toEqual([false, true]);
  for (const { task, token } of leases) {
    const known = model.tasks.get(task.id)!;
    expect(known.status).toBe("pending");
    expect(waiting.has(known.lane)).toBe(false);
    expect(model.paused.has(known.spec.queue)).toBe(false);
    expect(task.fencingToken).toBeGreaterThan(model.highestFencing);
    model.grant(task.id, sessionId, token, task.fencingToken);
  }
}

const again = fc
  .record({
    at: indexes,
    origin: fc.constantFrom("submit" as const, "restore" as const),
    newRun: fc.boolean(),
  })
  .map((input) =>
    command("enqueueAgain", input, async (model, real) => {
      const task = pick(real.made, input.at);
      if (!task) return;
      const run = (model.tasks.get(task.id)?.run ?? task.run) + (input.newRun ? 1 : 0);
      const grants = model.leases.filter(({ taskId }) => taskId === task.id);
      const fencingToken = Math.max(0, ...grants.map((grant) => grant.fencingToken));
      const none = { readyAt: undefined, runAt: undefined, terms: undefined };
      const item = { task: { ...task, run, fencingToken, ...none } };
      const asOf = await real.broker.now();
      const reply = await real.broker.enqueue([{ ...item, origin: input.origin, asOf }]);
      expect(reply.outcomes[0]!.kind).toBe(model.enqueue(item.task, input.origin, { delayMs: 0 }));
    }),
  );

// --- leases and how they end

const requestOf = (
  sessionId: string,
  generation: number,
  slots: number,
  lanes: readonly number[],
): LeaseRequest => ({
  partition: 0,
  lanes: lanes.map((at) => allLanes[at]!),
  sessions: [{ sessionId, generation, slots }],
  maxBytes: limits.leaseBatchBytes,
});

function followLeases(model: ReferenceBroker, request: LeaseRequest, reply: LeaseReply): void {
  expect(reply.kind).toBe(model.cold ? "cold" : "ok");
  if (model.cold) return expect(reply.leases).toEqual([]);
  const { sessionId, generation, slots } = request.sessions[0]!;
  const live = model.isLive(sessionId) && generation === generationOf(model, sessionId);
  expect(reply.lostSessions).toEqual(live ? [] : [sessionId]);
  if (!live) return expect(reply.leases).toEqual([]);
  const names = request.lanes.map((lane) => laneNameOf(lane as Task));
  followGrants(model, choiceOf(model, sessionId, slots, names), reply);
}

const someLanes = fc.subarray([0, 1, 2, 3], { minLength: 1 });

const lease = fc
  .record({
    session: fc.constantFrom(...sessionIds),
    slots: fc.integer({ min: 0, max: 20 }),
    lanes: someLanes,
    wrongGeneration: fc.boolean(),
  })
  .map(({ session, slots, lanes, wrongGeneration }) =>
    command("lease", { session, slots, lanes, wrongGeneration }, async (model, real) => {
      const known = generationOf(model, session);
      const generation = wrongGeneration && slots > 15 ? known + 1 : known;
      const request = requestOf(session, generation, slots, lanes);
      followLeases(model, request, await real.broker.lease(request));
    }),
  );

const endings: readonly Ending[] = [
  { kind: "complete", result: undefined },
  { kind: "complete", result: undefined },
  { kind: "fail", cause: "handler", error: failure, retryInMs: undefined },
  { kind: "fail", cause: "handler", error: failure, retryInMs: 5_000 },
  { kind: "fail", cause: "timeout", error: { ...failure, code: "timeout" }, retryInMs: 15_000 },
  { kind: "release", delayMs: 0 },
  { kind: "release", delayMs: 0, unsent: true },
  { kind: "release", delayMs: 5_000 },
  { kind: "cancel" },
];

/** Any token ever granted, by its session, by another, by a coordinator, or forged. */
const settle = fc
  .record({
    at: indexes,
    recent: fc.boolean(),
    ending: fc.constantFrom(...endings),
    by: fc.constantFrom("own", "own", "own", "coordinator", "other", "forged"),
  })
  .map((input) =>
    command("settle", input, async (model, real) => {
      const held = pick(input.recent ? runningOf(model) : model.leases, input.at);
      if (!held) return;
      const token = Uint8Array.from(held.token);
      if (input.by === "forged") token[30]! ^= 1;
      const own = input.by === "own" || input.by === "forged";
      const other = input.by === "coordinator" ? undefined : "somebody";
      await settleBoth(model, real, { ...held, token }, input.ending, own ? held.sessionId : other);
    }),
  );

/** Of the own session, which leases anew with it. */
const settleAndLease = fc
  .record({
    at: indexes,
    recent: fc.constantFrom(true, true, false),
    ending: fc.constantFrom(...endings),
    slots: fc.integer({ min: 0, max: 4 }),
    lanes: someLanes,
  })
  .map((input) =>
    command("settleAndLease", input, async (model, real) => {
      const held = pick(input.recent ? runningOf(model) : model.leases, input.at);
      if (!held) return;
      const { sessionId } = held;
      const generation = generationOf(model, sessionId);
      const request = requestOf(sessionId, generation, input.slots, input.lanes);
      const settled = await settleBoth(model, real, held, input.ending, sessionId, request);
      followLeases(model, request, settled!.leased);
    }),
  );

/** With `request` also leases; what that gave, the model has yet to follow. */
async function settleBoth(
  model: ReferenceBroker,
  real: Real,
  { token, taskId }: Pick<ModelLease, "token" | "taskId">,
  ending: Ending,
  by: string | undefined,
  request?: LeaseRequest,
): Promise<SettledLeased | undefined> {
  const ended = model.tasks.get(taskId);
  const settlements = [{ ...ending, token, sessionId: by } as Settlement];
  const settled = request && (await real.broker.settleAndLease(settlements, request));
  const [reply] = settled?.replies ?? (await real.broker.settle(settlements));
  const verdict = model.settle(token, taskId, ending, by);
  expect(reply!.verdict).toBe(verdict);
  expect(reply!.transition !== undefined).toBe(verdict === "accepted");
  if (verdict === "accepted") {
    const { status, version } = model.tasks.get(taskId)!;
    expect(reply!.transition!.task).toMatchObject({ id: taskId, status, version });
    expect(reply!.transition!.attempt).toBeDefined();
  }
  if (verdict === "duplicate" && !ended) expect(reply!.recorded).toBe(true);
  // What did not end the task itself may be recorded before the end that came later.
  const isEnd = ending.kind === "complete" || ending.kind === "cancel";
  if (verdict === "duplicate" && isEnd && ended && isFinal(ended.status)) {
    expect(reply!.recorded).toBe(false);
  }
  return settled;
}

/** As the coordinator does: what a sweep offers is ended. */
const loseAll = fc
  .record({ most: fc.integer({ min: 1, max: 5 }), twice: fc.boolean() })
  .map((input) =>
    command("loseAll", input, async (model, real) => {
      const { lost } = await sweepBoth(model, real);
      for (const { token, task } of lost.slice(0, input.most)) {
        const losses = model.tasks.get(task.id)!.leaseLosses;
        const then = (["pending", "quarantine"] as const)[losses] ?? "poison";
        const ending: Ending = { kind: "lose", then, delayMs: then === "quarantine" ? 5_000 : 0 };
        const turns = input.twice ? 2 : 1;
        for (let n = 0; n < turns; n += 1) {
          await settleBoth(model, real, { token, taskId: task.id }, ending, undefined);
        }
      }
    }),
  );

/** A word of any attempt ever granted, by its session or another. */
const progress = fc.record({ at: indexes, own: fc.constantFrom(true, true, false) }).map((input) =>
  command("progress", input, async (model, real) => {
    const held = pick(model.leases, input.at);
    if (!held) return;
    const sessionId = input.own ? held.sessionId : "somebody";
    const said = { fraction: 0.5, message: "" };
    await real.broker.progress([{ token: held.token, sessionId, progress: said }]);
    model.progress(held.token, held.taskId, sessionId);
  }),
);

const cancel = fc
  .record({ at: indexes, graceMs: delays, foreign: fc.integer({ min: 0, max: 9 }) })
  .map((input) =>
    command("cancel", input, async (model, real) => {
      const known = pick(real.made, input.at) ?? real.make({ queue: "q1" });
      const namespace = input.foreign === 0 && model.tasks.has(known.id) ? "theirs" : "default";
      const item = { taskId: known.id, namespace, graceMs: input.graceMs };
      const [reply] = await real.broker.cancel([item]);
      expect(reply!.kind).toBe(model.cancel(known.id, namespace, input.graceMs));
    }),
  );

/** The successor is a task like any other: enqueued once history has it, or never. */
const replace = fc
  .record({ at: indexes, unstarted: fc.boolean(), enqueued: fc.boolean(), spec: taskInput })
  .map((input) =>
    command("replace", input, async (model, real) => {
      const known = pick(real.made, input.at) ?? real.make({ queue: "q1" });
      const { queue, type } = input.spec;
      const successor = real.make({ queue, type });
      const { id: taskId, namespace } = known;
      const item = { taskId, namespace, successor, unstarted: input.unstarted, reason: "" };
      const [reply] = await real.broker.replace([item]);
      const kind = model.replace(taskId, input.unstarted);
      expect(reply!.kind).toBe(kind);
      if (reply!.kind !== "replaced") return;
      expect(reply!.transition.successor).toEqual(successor);
      const told = (await real.broker.readOutbox(0, 0, 1_000)).at(-1)!;
      expect([told.task.id, told.successor]).toEqual([taskId, successor]);
      if (!input.enqueued) return;
      real.made.push(successor);
      await real.broker.enqueue([{ task: successor, origin: "submit" }]);
      model.enqueue(successor, "submit", { delayMs: 0 });
    }),
  );

const promoteNow = fc.record({ at: indexes }).map((input) =>
  command("promoteNow", input, async (model, real) => {
    const task = pick(real.made, input.at);
    if (!task) return;
    const promoted = (await real.broker.promoteNow(task.id)) !== undefined;
    expect(promoted).toBe(model.promoteNow(task.id));
  }),
);

// --- time, history, operators

const byId = (leases: readonly Lease[]): string[] => leases.map(({ task }) => task.id).toSorted();

const endsOf = ({ ended }: SweepReply): string[] =>
  ended.map(({ task }) => viewOfEnd(task)).toSorted();

async function sweepBoth(model: ReferenceBroker, real: Real): Promise<SweepReply> {
  const reply = await real.broker.sweep(0);
  const { promoted, ended, ...offered } = model.sweep();
  expect(endsOf(reply)).toEqual(ended);
  const { lost, left, timedOut, cancelOverdue } = reply;
  const seen = { lost, left, timedOut, cancelOverdue };
  expect(Object.fromEntries(Object.entries(seen).map(([k, v]) => [k, byId(v)]))).toEqual(offered);
  expect(reply.promoted).toBe(promoted);
  expect(reply.outboxEntries).toBe(model.outbox.length);
  expect(reply.nextDueInMs !== undefined).toBe(model.all().some(({ status }) => waits(status)));
  for (const { token, task } of [...lost, ...left, ...timedOut, ...cancelOverdue]) {
    expect(hex(token)).toBe(model.tasks.get(task.id)!.token);
  }
  return reply;
}

const sweep = fc.constant(0).map(() =>
  command("sweep", "", async (model, real) => {
    await sweepBoth(model, real);
  }),
);

/** 10 s; with sweeps every second as in life, or without any, as when all coordinators are gone. */
const advance = fc.record({ swept: fc.constantFrom(true, true, false) }).map((input) =>
  command("advance", input, async (model, real) => {
    if (!input.swept) {
      await real.harness.advance(10_000);
      model.now += 10_000;
      return void (await sweepBoth(model, real));
    }
    let promoted = 0;
    const ended: { seen: string[]; wanted: string[] } = { seen: [], wanted: [] };
    for (let second = 1; second < 10; second += 1) {
      await real.harness.advance(1_000);
      model.now += 1_000;
      const reply = await real.broker.sweep(0);
      const wanted = model.sweep();
      promoted += reply.promoted - wanted.promoted;
      ended.seen.push(...endsOf(reply));
      ended.wanted.push(...wanted.ended);
    }
    expect(promoted, "promotions on the way").toBe(0);
    expect(ended.seen.toSorted(), "ends on the way").toEqual(ended.wanted.toSorted());
    await real.harness.advance(1_000);
    model.now += 1_000;
    await sweepBoth(model, real);
  }),
);

const recorded = fc
  .record({
    at: indexes,
    count: fc.integer({ min: 1, max: 4 }),
    later: fc.constantFrom(false, false, true),
  })
  .map((input) =>
    command("recorded", input, async (model, real) => {
      const entries = await real.broker.readOutbox(0, 0, 1_000);
      for (let n = 0; n < input.count && entries.length > 0; n += 1) {
        const one = entries[input.at % entries.length]!.task;
        // History may hold a later version by now than the entry tells of: with all up to it.
        const latest = model.tasks.get(one.id)?.version ?? one.version;
        const version = input.later ? Math.max(latest, one.version) : one.version;
        const told = entries.filter(
          ({ task }) =>
            task === one || (input.later && task.id === one.id && task.version <= version),
        );
        await real.broker.recorded(told.map((entry) => ({ ...itemOf(entry), version })));
        for (const entry of told) {
          const index = entries.indexOf(entry);
          entries.splice(index, 1);
          model.recorded(index, version);
        }
      }
    }),
  );

/** Some of the births of a call, whatever became of their tasks. */
const someBirths = fc.record({ at: indexes, which: fc.uniqueArray(fc.nat({ max: 5 })) });

const recordedBirths = someBirths.map((input) =>
  command("recordedBirths", input, async (model, real) => {
    const births = pick(real.births, input.at);
    if (!births) return;
    const nths = input.which.filter((nth) => nth < births.ids.length);
    await real.broker.recorded([], [{ births, nths }]);
    for (const nth of nths) {
      // A later run begins with that version as well.
      const index = model.outbox.findIndex(
        ({ taskId, run, version }) =>
          taskId === births.ids[nth] && run === 1 && version === births.version,
      );
      if (index >= 0) model.recorded(index, births.version);
    }
  }),
);

const covered = someBirths.map((input) =>
  command("covered", input, async (model, real) => {
    const births = pick(real.births, input.at);
    if (!births) return;
    const nths = input.which.filter((nth) => nth < births.ids.length);
    const seen = await real.broker.covered({ births, nths });
    const idOf = (nth: number): string => births.ids[nth]!;
    const isRecorded = (nth: number): boolean =>
      model.tombstones.get(idOf(nth))?.ended !== undefined;
    expect(seen.recorded).toEqual(nths.filter(isRecorded));
    const told = nths.filter((nth) => model.tasks.get(idOf(nth))?.status === "completed");
    expect(told).toEqual(expect.arrayContaining([...seen.told]));
  }),
);

const pause = fc.record({ queue: fc.constantFrom(...queues), paused: fc.boolean() }).map((input) =>
  command("pause", input, async (model, real) => {
    await real.broker.setQueue({ namespace: "default", ...input });
    if (input.paused) model.paused.add(input.queue);
    else model.paused.delete(input.queue);
  }),
);

const coldness = fc.boolean().map((cold) =>
  command("cold", cold, async (model, real) => {
    if (cold) await real.broker.close(0, "the model says so");
    else await real.broker.open(0, 1);
    model.cold = cold;
    expect((await real.broker.status(0)).cold).toBe(cold);
  }),
);

const bury = fc.record({ at: indexes }).map((input) =>
  command("bury", input, async (model, real) => {
    const task = pick(real.made, input.at);
    if (!task) return;
    const run = model.tasks.get(task.id)?.run ?? task.run;
    const end = { status: "completed", completedAt: task.createdAt } as const;
    await real.broker.bury([{ ...task, ...end, run }]);
    model.buryFromHistory(task.id, run);
  }),
);

/** All commands, weighted: mostly work, now and then a disturbance. */
export const steps = [
  ...Array.from({ length: 4 }, () => enqueue),
  ...Array.from({ length: 5 }, () => lease),
  ...Array.from({ length: 4 }, () => settle),
  ...Array.from({ length: 4 }, () => settleAndLease),
  ...Array.from({ length: 3 }, () => open),
  ...Array.from({ length: 2 }, () => cancel),
  ...Array.from({ length: 2 }, () => replace),
  ...Array.from({ length: 2 }, () => recorded),
  ...Array.from({ length: 3 }, () => bear),
  ...Array.from({ length: 3 }, () => completeMany),
  ...Array.from({ length: 2 }, () => recordedBirths),
  ...Array.from({ length: 2 }, () => covered),
  ...Array.from({ length: 2 }, () => loseAll),
  ...Array.from({ length: 2 }, () => progress),
  ...Array.from({ length: 3 }, () => renew),
  ...Array.from({ length: 2 }, () => advance),
  flood,
  again,
  promoteNow,
  cut,
  leave,
  sweep,
  pause,
  coldness,
  bury,
].map((arbitrary) => arbitrary as fc.Arbitrary<Step>);
