import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { DroverError } from "../../src/errors.js";
import { limits } from "../../src/limits.js";
import { defaultQueueSettings } from "../../src/task/validate.js";
import { createSeededRandom } from "../support/seeded-random.js";
import { createTaskFactory } from "../support/task-factory.js";
import { createWorld, draft, FakeWorker, offer, type World } from "./world.js";

let world: World;
beforeEach(() => {
  world = createWorld();
});
afterEach(async () => {
  await world.stop();
});

describe("Coordinator", () => {
  it("takes a task from submission to an accepted result", async () => {
    const node = await world.node();
    const worker = await world.open(node, world.worker(), { offer: offer(2) });
    const [id] = await world.submit(node, draft());
    await world.until("leased", () => worker.leases.length === 1);
    expect(worker.leases[0]!.task.id).toBe(id);
    worker.succeed(worker.leases[0]!);
    await world.until("acked", () => worker.acks.length === 1);
    expect(worker.acks[0]!.verdict).toBe("accepted");
    const task = await world.wait("get", node.coordinator.get("default", id!));
    expect(task).toMatchObject({ status: "completed", attempt: 1, retryCount: 0, workerId: "w" });
  });

  it("shows a DURABLE task that ended while history is away as it was last shown", async () => {
    const node = await world.node();
    const worker = await world.open(node, world.worker(), { offer: offer(1) });
    const [id] = await world.submit(node, draft());
    await world.until("leased", () => worker.leases.length === 1);
    const { history } = world;
    const real = { get: history.get.bind(history), record: history.record.bind(history) };
    const away = () => Promise.reject(new DroverError("history_unavailable", "no answer"));
    Object.assign(history, { get: away, record: away });
    worker.succeed(worker.leases[0]!);
    const inBroker = async () => (await world.wait("broker", node.broker.get([id!])))[0]?.status;
    while ((await inBroker()) === "running") await world.clock.advance(5);
    expect(await inBroker()).toBe("completed");
    const shown = await world.wait("get", node.coordinator.get("default", id!));
    expect(shown).toMatchObject({ status: "running", result: undefined, completedAt: undefined });
    const unheldId = createTaskFactory(createSeededRandom(4), () => world.clock.now()).task().id;
    const unheld = world.wait("get", node.coordinator.get("default", unheldId));
    await expect(unheld).rejects.toMatchObject({ id: "history_unavailable" });
    expect(worker.acks).toEqual([]);
    Object.assign(history, real);
    await world.until("acked", () => worker.acks.length === 1);
    const ended = await world.wait("get", node.coordinator.get("default", id!));
    expect(ended).toMatchObject({ status: "completed" });
  });

  it("never says that there is no task while the store that would know does not answer (P13)", async () => {
    const node = await world.node();
    const change = { durability: "relaxed" } as const;
    await world.wait("relax", node.coordinator.updateQueue("default", "default", change));
    const { history } = world;
    const record = history.record.bind(history);
    history.record = () => Promise.reject(new DroverError("history_unavailable", "no answer"));
    const [id] = await world.submit(node, draft());
    const get = node.broker.get.bind(node.broker);
    node.broker.get = () => Promise.reject(new DroverError("broker_unavailable", "no answer"));
    const unknown = world.wait("get", node.coordinator.get("default", id!));
    await expect(unknown).rejects.toMatchObject({ id: "broker_unavailable" });
    history.record = record;
    await world.clock.advance(limits.recordHoldMs + 5_000);
    const stored = await world.wait("get", node.coordinator.get("default", id!));
    expect(stored).toMatchObject({ id, status: "pending" });
    node.broker.get = get;
  });

  it("serves a task that was there before the worker", async () => {
    const node = await world.node();
    const [id] = await world.submit(node, draft());
    const worker = await world.open(node, world.worker(), { offer: offer(1) });
    await world.until("leased", () => worker.leases.length === 1);
    expect(worker.leases[0]!.task.id).toBe(id);
  });

  it("serves at once on a first start, even what was committed before it could lease", async () => {
    const { task } = createTaskFactory(createSeededRandom(3), () => world.clock.now());
    await world.history.start();
    const early = task();
    await world.history.insert([early]);
    const node = await world.node();
    const worker = await world.open(node, world.worker(), { offer: offer(1) });
    await world.until("leased", () => worker.leases.length === 1, 3_000);
    expect(worker.leases[0]!.task.id).toBe(early.id);
  });

  it("never leases more than the offer leaves free, and refills as results come", async () => {
    const node = await world.node();
    const worker = await world.open(node, world.worker(), { offer: offer(3) });
    await world.submit(node, ...Array.from({ length: 20 }, () => draft()));
    let done = 0;
    while (done < 20) {
      await world.until("leases", () => worker.leases.length > done);
      expect(worker.leases.length - done).toBeLessThanOrEqual(3);
      worker.succeed(worker.leases[done]!);
      done += 1;
    }
    await world.until("acked", () => worker.acks.length === 20);
    expect(new Set(worker.leases.map((lease) => lease.task.id)).size).toBe(20);
  });

  it("leases only types and labels the worker carries, and says why others wait", async () => {
    const node = await world.node();
    const [other, labelled] = await world.submit(
      node,
      draft({ type: "other" }),
      draft({ requiredLabels: { gpu: "yes" } }),
    );
    const plain = await world.open(node, world.worker(), { offer: offer(5) });
    await world.clock.advance(3_000);
    expect(plain.leases).toHaveLength(0);
    const view = await world.wait("get", node.coordinator.get("default", other!));
    expect(view.pendingReason).toBe("no_worker");
    const gpu = await world.open(node, world.worker(), {
      offer: offer(5),
      labels: { gpu: "yes", at: "x" },
    });
    await world.until("leased", () => gpu.leases.length === 1);
    expect(gpu.leases[0]!.task.id).toBe(labelled);
  });

  it("refuses tasks of new kinds before it acknowledges them, once a queue has too many", async () => {
    const full = createWorld({ lanesPerQueue: 2 });
    const node = await full.node();
    await full.submit(node, draft({ type: "a" }), draft({ type: "b" }));
    const [late] = await full.submit(node, draft({ type: "c" }));
    await full.clock.advance(50);
    const again = { draft: draft({ type: "d" }), requestId: "" };
    const known = { draft: draft({ type: "a" }), requestId: "" };
    const call = node.coordinator.submit("default", [again, known]);
    expect(await full.wait("submit", call)).toMatchObject([
      { kind: "refused", error: { id: "too_many_lanes" } },
      { kind: "submitted" },
    ]);
    // What was acknowledged before Redis said so is not lost: it runs once a lane is free.
    const worker = await full.open(node, full.worker(), { offer: offer(9, ["a", "b", "c"]) });
    await full.until("a and b leased", () => worker.leases.length === 3);
    for (const lease of worker.leases) worker.succeed(lease);
    await full.until(
      "late one leased",
      () => {
        if (full.clock.monotonic() % 5_000 < 5) worker.beat(worker.leases.slice(3));
        return worker.leases.length === 4;
      },
      600_000,
    );
    expect(worker.leases[3]!.task.id).toBe(late);
    await full.stop();
  });

  it("answers the same idempotency key with the same task, and another task with a conflict", async () => {
    const node = await world.node();
    const [first] = await world.submit(node, draft({ idempotencyKey: "k" }));
    const [again] = await world.submit(node, draft({ idempotencyKey: "k" }));
    expect(again).toBe(first);
    const item = { draft: draft({ idempotencyKey: "k", priority: 3 }), requestId: "" };
    const [outcome] = await world.wait("submit", node.coordinator.submit("default", [item]));
    expect(outcome).toMatchObject({ kind: "refused", error: { id: "idempotency_conflict" } });
  });

  it("answers a repeat with the same task, though its queue says something else by then (P2)", async () => {
    const node = await world.node();
    const asked = draft({ idempotencyKey: "k", type: "a", retry: { initialBackoffMs: 7 } });
    const [first] = await world.submit(node, asked);
    const change = {
      maxRetries: 9,
      retentionMs: 1_000,
      retry: { ...defaultQueueSettings("default", "default").retry, multiplier: 5, jitter: 0 },
      types: { a: { timeoutMs: 12_345 } },
    };
    await world.wait("update", node.coordinator.updateQueue("default", "default", change));
    const [again] = await world.submit(node, asked);
    expect(again).toBe(first);
    for (const other of [{ maxRetries: 8 }, { timeoutMs: 5 }, { retry: { initialBackoffMs: 8 } }]) {
      const item = { draft: { ...asked, ...other }, requestId: "" };
      const [outcome] = await world.wait("submit", node.coordinator.submit("default", [item]));
      expect(outcome).toMatchObject({ kind: "refused", error: { id: "idempotency_conflict" } });
    }
  });

  it("forms the same id from the same request id on any coordinator", async () => {
    const [one, two] = [await world.node(), await world.node()];
    const requestId = `${idAt(world.clock.now())}`;
    const item = { draft: draft(), requestId };
    const [first] = await world.wait("one", one.coordinator.submit("default", [item]));
    const [again] = await world.wait("two", two.coordinator.submit("default", [item]));
    expect(first).toMatchObject({ kind: "submitted" });
    expect(again).toEqual({
      kind: "existing",
      taskId: first!.kind === "refused" ? "" : first!.taskId,
    });
    const other = { draft: draft({ type: "other" }), requestId };
    const [conflict] = await world.wait("three", two.coordinator.submit("default", [other]));
    expect(conflict).toMatchObject({ kind: "refused", error: { id: "submit_id_conflict" } });
  });

  it("retries a failure after its backoff and ends it FAILED when the budget is used up", async () => {
    const node = await world.node();
    const worker = await world.open(node, world.worker(), { offer: offer(1) });
    const [id] = await world.submit(node, draft({ maxRetries: 2 }));
    for (let run = 1; run <= 3; run += 1) {
      await world.until(`attempt ${run}`, () => worker.leases.length === run);
      worker.fail(worker.leases[run - 1]!);
      await world.until("acked", () => worker.acks.length === run);
      const held = worker.leases.slice(run);
      worker.beat(held);
    }
    const task = await world.wait("get", node.coordinator.get("default", id!));
    expect(task).toMatchObject({
      status: "failed",
      retryCount: 2,
      attempt: 3,
      error: { code: "broken" },
    });
    const attempts = await world.wait("attempts", node.coordinator.attempts("default", id!));
    expect(attempts.map(({ outcome }) => outcome)).toEqual(["failed", "failed", "failed"]);
  });

  it("begins a new run of a failed task", async () => {
    const node = await world.node();
    const worker = await world.open(node, world.worker(), { offer: offer(1) });
    const [id] = await world.submit(node, draft({ maxRetries: 0 }));
    await world.until("leased", () => worker.leases.length === 1);
    worker.fail(worker.leases[0]!);
    await world.until("acked", () => worker.acks.length === 1);
    const revived = await world.wait("retry", node.coordinator.retry("default", id!));
    expect(revived).toMatchObject({ run: 2 });
    await world.until("leased again", () => worker.leases.length === 2);
    worker.succeed(worker.leases[1]!);
    await world.until("acked again", () => worker.acks.length === 2);
    const task = await world.wait("get", node.coordinator.get("default", id!));
    expect(task).toMatchObject({ status: "completed", run: 2, attempt: 2 });
    await expect(world.wait("no", node.coordinator.retry("default", id!))).rejects.toMatchObject({
      id: "task_not_retryable",
    });
  });

  it("refuses a late result of a lease that is over", async () => {
    const node = await world.node();
    // The first sweeps of a store end nothing.
    await world.clock.advance(16_000);
    const worker = await world.open(node, world.worker(), { offer: offer(1) });
    await world.submit(node, draft({ timeoutMs: 1_000, maxRetries: 0 }));
    await world.until("leased", () => worker.leases.length === 1);
    const [lease] = worker.leases;
    await world.until(
      "revoked",
      () => worker.commands.some(({ kind }) => kind === "revoke"),
      4_000,
    );
    worker.succeed(lease!);
    await world.until("acked", () => worker.acks.length === 1);
    expect(worker.acks[0]!.verdict).toBe("stale");
    const task = await world.wait("get", node.coordinator.get("default", lease!.task.id));
    expect(task).toMatchObject({ status: "failed", error: { code: "timeout" } });
  });

  it("wakes a waiting call when the task ends, also on another coordinator", async () => {
    const [one, two] = [await world.node(), await world.node()];
    const worker = await world.open(one, world.worker(), { offer: offer(1) });
    const [id] = await world.submit(two, draft());
    await world.until("leased", () => worker.leases.length === 1);
    const signal = new AbortController().signal;
    const waited = two.coordinator.wait("default", id!, 30_000, signal);
    worker.succeed(worker.leases[0]!);
    const before = world.clock.monotonic();
    expect(await world.wait("wait", waited)).toMatchObject({ finished: true });
    expect(world.clock.monotonic() - before).toBeLessThan(50);
  });
});

describe("cancel", () => {
  it("ends a queued task so that it never starts", async () => {
    const node = await world.node();
    const [id] = await world.submit(node, draft());
    const task = await world.wait("cancel", node.coordinator.cancel("default", id!, 30_000));
    expect(task.status).toBe("cancelled");
    const worker = await world.open(node, world.worker(), { offer: offer(1) });
    await world.clock.advance(3_000);
    expect(worker.leases).toHaveLength(0);
    const again = await world.wait("again", node.coordinator.cancel("default", id!, 30_000));
    expect(again.status).toBe("cancelled");
  });

  it("asks the worker at once, from any coordinator, and believes a result that comes first", async () => {
    const [one, two] = [await world.node(), await world.node()];
    const worker = await world.open(one, world.worker(), { offer: offer(1) });
    const [id] = await world.submit(one, draft());
    await world.until("leased", () => worker.leases.length === 1);
    await world.wait("cancel", two.coordinator.cancel("default", id!, 30_000));
    await world.until("asked", () => worker.commands.some(({ kind }) => kind === "cancel"), 1_000);
    worker.succeed(worker.leases[0]!);
    await world.until("acked", () => worker.acks.length === 1);
    expect(worker.acks[0]!.verdict).toBe("accepted");
    await expect(
      world.wait("late", two.coordinator.cancel("default", id!, 30_000)),
    ).rejects.toMatchObject({ id: "task_already_final" });
  });

  it("revokes the lease after the grace, and refuses what comes later", async () => {
    const node = await world.node();
    const worker = await world.open(node, world.worker(), { offer: offer(1) });
    const [id] = await world.submit(node, draft());
    await world.until("leased", () => worker.leases.length === 1);
    await world.wait("cancel", node.coordinator.cancel("default", id!, 3_000));
    await world.until(
      "revoked",
      () => worker.commands.some(({ kind }) => kind === "revoke"),
      6_000,
    );
    worker.succeed(worker.leases[0]!);
    await world.until("acked", () => worker.acks.length === 1);
    expect(worker.acks[0]!.verdict).toBe("stale");
    const task = await world.wait("get", node.coordinator.get("default", id!));
    expect(task.status).toBe("cancelled");
  });

  it("knows no task of another namespace", async () => {
    const node = await world.node();
    const [id] = await world.submit(node, draft());
    const calls: (() => Promise<unknown>)[] = [
      () => node.coordinator.get("other", id!),
      () => node.coordinator.cancel("other", id!, 0),
      () => node.coordinator.retry("other", id!),
      () => node.coordinator.attempts("other", id!),
    ];
    for (const call of calls) {
      await expect(world.wait("call", call())).rejects.toMatchObject({ id: "task_not_found" });
    }
    const task = await world.wait("get", node.coordinator.get("default", id!));
    expect(task.status).toBe("pending");
  });
});

describe("sessions", () => {
  it("resume on another coordinator keeps the lease and costs no attempt", async () => {
    const [one, two] = [await world.node(), await world.node()];
    const worker = await world.open(one, world.worker(), { offer: offer(1) });
    const [id] = await world.submit(one, draft());
    await world.until("leased", () => worker.leases.length === 1);
    const [lease] = worker.leases;
    await one.crash();
    const moved = new FakeWorker(worker.sessionId, 2);
    await world.open(two, moved, { offer: offer(1), heldTokens: [lease!.token] });
    expect(moved.welcome).toMatchObject({ resumed: true, revokedTokens: [] });
    moved.succeed(lease!);
    await world.until("acked", () => moved.acks.length === 1);
    expect(moved.acks[0]!.verdict).toBe("accepted");
    const task = await world.wait("get", two.coordinator.get("default", id!));
    expect(task).toMatchObject({ status: "completed", attempt: 1, leaseLosses: 0 });
  });

  it("gives the tasks of a broken stream away after 5 s, also if it was asked to move", async () => {
    const [one, two] = [await world.node(), await world.node()];
    await world.clock.advance(limits.reapGraceMs);
    const worker = await world.open(one, world.worker(), { offer: offer(1) });
    await world.submit(one, draft());
    await world.until("leased", () => worker.leases.length === 1);
    const drained = one.coordinator.drain();
    await world.until("told", () => worker.goAway !== undefined);
    worker.session!.disconnected();
    const other = await world.open(two, world.worker(), { offer: offer(1) });
    await world.until("leased elsewhere", () => other.leases.length === 1, 6_000);
    expect(other.leases[0]!.task).toMatchObject({ attempt: 2, leaseLosses: 1 });
    await world.wait("drained", drained);
  });

  it("hands back leases whose grant went unanswered, with the next heartbeat", async () => {
    const node = await world.node();
    const { broker } = node;
    const answer = { lease: broker.lease.bind(broker), enqueue: broker.enqueue.bind(broker) };
    let lost = 0;
    const lose = async <T extends { leases: readonly unknown[] }>(call: Promise<T>): Promise<T> => {
      const reply = await call;
      if (lost > 0 || reply.leases.length === 0) return reply;
      lost = reply.leases.length;
      throw new DroverError("broker_unavailable", "no answer in 2000 ms");
    };
    broker.lease = (request) => lose(answer.lease(request));
    broker.enqueue = (items, eager) => lose(answer.enqueue(items, eager));
    const worker = await world.open(node, world.worker(), { offer: offer(2) });
    await world.submit(node, draft());
    await world.until("granted, and the answer lost", () => lost === 1);
    expect(worker.leases).toHaveLength(0);
    worker.beat([]);
    await world.until("leased anew", () => worker.leases.length === 1, 5_000);
    expect(worker.leases[0]!.task).toMatchObject({ attempt: 2, retryCount: 0, leaseLosses: 0 });
  });

  it("takes back a lease the worker does not list twice running, uncharged", async () => {
    const node = await world.node();
    const worker = await world.open(node, world.worker(), { offer: offer(1) });
    await world.submit(node, draft());
    await world.until("leased", () => worker.leases.length === 1);
    worker.beat([]);
    await world.until("beat", () => worker.beats.length === 1);
    expect(worker.leases).toHaveLength(1);
    worker.beat([]);
    await world.until("leased anew", () => worker.leases.length === 2);
    expect(worker.leases[1]!.task).toMatchObject({ retryCount: 0, leaseLosses: 0 });
  });

  it("renews a session as soon as a store that was away answers, and says so (P10)", async () => {
    const node = await world.node();
    const worker = await world.open(node, world.worker(), { offer: offer(1) });
    const renew = node.broker.renewSessions.bind(node.broker);
    let away = true;
    node.broker.renewSessions = (...given) =>
      away ? Promise.reject(new DroverError("broker_unavailable", "away")) : renew(...given);
    worker.beat([]);
    await world.until("refused", () => worker.beats.length === 1);
    expect(worker.beats[0]).toMatchObject({ renewed: false });
    away = false;
    await world.until("renewed", () => worker.beats.length === 2, 1_000);
    const { number } = worker.beats[0]!;
    expect(worker.beats[1]).toMatchObject({ number, renewed: true });
  });

  it("answers tokens the session does not own as unknown", async () => {
    const node = await world.node();
    const worker = await world.open(node, world.worker(), { offer: offer(1) });
    const other = await world.open(node, world.worker(), { offer: offer(0) });
    await world.submit(node, draft());
    await world.until("leased", () => worker.leases.length === 1);
    other.beat(worker.leases);
    await world.until("beat", () => other.beats.length === 1);
    expect(other.beats[0]).toMatchObject({ renewed: true });
    expect(other.beats[0]!.unknownTokens).toEqual([worker.leases[0]!.token]);
    other.succeed(worker.leases[0]!);
    await world.until("acked", () => other.acks.length === 1);
    expect(other.acks[0]!.verdict).toBe("stale");
  });

  it("gives a dead worker's task to another one, within 6 s of a broken stream", async () => {
    const node = await world.node();
    // The first sweeps of a store end nothing.
    await world.clock.advance(16_000);
    const dead = await world.open(node, world.worker(), { offer: offer(1) });
    const [id] = await world.submit(node, draft());
    await world.until("leased", () => dead.leases.length === 1);
    const other = await world.open(node, world.worker(), { offer: offer(1) });
    const before = world.clock.monotonic();
    dead.session!.disconnected();
    await world.until("leased elsewhere", () => other.leases.length === 1, 20_000);
    expect(world.clock.monotonic() - before).toBeLessThan(6_000);
    expect(other.leases[0]!.task).toMatchObject({ id, attempt: 2, leaseLosses: 1, retryCount: 0 });
  });

  it("hands the leases of a worker that said goodbye on at once, uncharged", async () => {
    const node = await world.node();
    const leaving = await world.open(node, world.worker(), { offer: offer(1) });
    await world.submit(node, draft());
    await world.until("leased", () => leaving.leases.length === 1);
    const other = await world.open(node, world.worker(), { offer: offer(1) });
    leaving.frame({ leaving: true });
    leaving.session!.disconnected();
    await world.until("leased elsewhere", () => other.leases.length === 1, 2_000);
    expect(other.leases[0]!.task).toMatchObject({ leaseLosses: 0, retryCount: 0 });
  });

  it("leases nothing to a stream that does not read", async () => {
    const node = await world.node();
    const worker = world.worker();
    worker.writable = false;
    await world.open(node, worker, { offer: offer(1) });
    await world.submit(node, draft());
    await world.clock.advance(3_000);
    expect(worker.leases).toHaveLength(0);
    worker.writable = true;
    worker.session!.onWritable();
    await world.until("leased", () => worker.leases.length === 1, 3_000);
  });

  it("closes the older stream of a session, which then neither leases nor settles", async () => {
    const node = await world.node();
    const older = await world.open(node, world.worker(), { offer: offer(1) });
    const newer = new FakeWorker(older.sessionId, 2);
    await world.open(node, newer, { offer: offer(1) });
    expect(older.goAway?.reason).toBe("superseded");
    await world.submit(node, draft());
    await world.until("leased", () => newer.leases.length === 1);
    expect(older.leases).toHaveLength(0);
    const stale = world.open(node, new FakeWorker(older.sessionId, 1), { offer: offer(1) });
    await expect(stale).rejects.toMatchObject({ id: "session_superseded" });
  });

  it("keeps no call waiting when the coordinator drains", async () => {
    const node = await world.node();
    const [id] = await world.submit(node, draft());
    const waited = node.coordinator.wait("default", id!, 60_000, new AbortController().signal);
    await world.clock.advance(100);
    const drained = node.coordinator.drain();
    const before = world.clock.monotonic();
    expect(await world.wait("wait", waited)).toMatchObject({ finished: false });
    expect(world.clock.monotonic() - before).toBeLessThan(50);
    await world.wait("drained", drained);
  });

  it("is told to go away when the coordinator drains", async () => {
    const [one] = [await world.node(), await world.node()];
    const worker = await world.open(one, world.worker(), { offer: offer(1) });
    const drained = one.coordinator.drain();
    await world.until("told", () => worker.goAway !== undefined);
    expect(worker.goAway!.reason).toBe("shutdown");
    expect(one.coordinator.notReady()).toContain("draining");
    worker.session!.disconnected();
    await world.wait("drained", drained);
  });
});

/** A UUIDv7 of this time. */
function idAt(ms: number): string {
  const hex = ms.toString(16).padStart(12, "0");
  return `${hex.slice(0, 8)}-${hex.slice(8)}-7abc-8def-0123456789ab`;
}
