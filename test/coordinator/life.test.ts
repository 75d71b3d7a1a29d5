import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { DroverError } from "../../src/errors.js";
import { limits } from "../../src/limits.js";
import { bytesKey } from "../../src/short-text.js";
import type { TaskTerms } from "../../src/task/task.js";
import { createWorld, draft, FakeWorker, offer, type Node, type World } from "./world.js";

let world: World;
beforeEach(() => {
  world = createWorld();
});
afterEach(async () => {
  await world.stop();
});

const read = (node: Node, id: string) => world.wait("get", node.coordinator.get("default", id));

async function submitOne(node: Node, terms: TaskTerms, change = {}): Promise<string> {
  const [id] = await world.submit(node, draft({ ...change, terms }));
  return id!;
}

/** A worker that holds one lease, its session kept alive for `ms`. */
async function leased(node: Node): Promise<FakeWorker> {
  const worker = await world.open(node, world.worker(), { offer: offer(1) });
  await world.until("leased", () => worker.leases.length > 0);
  return worker;
}

async function live(worker: FakeWorker, ms: number, each: () => void = () => undefined) {
  for (let left = ms; left > 0; left -= 500) {
    await world.clock.advance(500);
    worker.beat(worker.leases.slice(-1));
    each();
  }
}

const row = async (node: Node, id: string) =>
  (await world.wait("row", world.history.get("default", [id])))[0] ?? (await read(node, id));

describe("the times of a task", () => {
  it("end it, in history too, when it has not started by then", async () => {
    const node = await world.node();
    const id = await submitOne(node, { expireAt: world.clock.now() + 7_000 });
    await world.clock.advance(6_900);
    expect(await read(node, id)).toMatchObject({ status: "pending" });
    await world.clock.advance(2_000);
    const error = { code: "expired" };
    expect(await row(node, id)).toMatchObject({ status: "expired", error, attempt: 0 });
    const worker = await world.open(node, world.worker(), { offer: offer(1) });
    await world.clock.advance(2_000);
    expect(worker.leases).toEqual([]);
  });

  it("end a wait for it at once", async () => {
    const node = await world.node();
    const id = await submitOne(node, { deadline: world.clock.now() + 7_000 });
    const { signal } = new AbortController();
    const waited = node.coordinator.wait("default", id, 30_000, signal);
    const { task, finished } = await world.wait("wait", waited);
    expect([finished, task.status, task.error?.code]).toEqual([true, "expired", "deadline"]);
  });

  it("end an attempt that is silent for its heartbeat timeout, and let it be retried", async () => {
    const node = await world.node();
    const retry = { initialBackoffMs: 60_000, jitter: 0 };
    const id = await submitOne(node, { heartbeatTimeoutMs: 6_000 }, { retry });
    const worker = await leased(node);
    const [lease] = worker.leases;
    const say = () =>
      worker.frame({ progress: [{ token: lease!.token, fraction: 0.5, message: "" }] });
    await live(worker, 15_000, say);
    expect(await read(node, id)).toMatchObject({ status: "running", attempt: 1 });
    await live(worker, 8_000);
    expect(worker.commands).toMatchObject([{ kind: "revoke", token: lease!.token }]);
    const error = { code: "heartbeat_timeout" };
    expect(await row(node, id)).toMatchObject({ status: "retrying", retryCount: 1, error });
    const attempts = await world.wait("a", node.coordinator.attempts("default", id));
    expect(attempts).toMatchObject([{ outcome: "timeout", error }]);
  });

  it("count log entries as signs of life, whether or not they can be kept", async () => {
    const node = await world.node();
    const id = await submitOne(node, { heartbeatTimeoutMs: 6_000 }, { maxRetries: 0 });
    const worker = await leased(node);
    const { token } = worker.leases[0]!;
    const rest = { level: "info", message: "on it", fields: "", dropped: 0 } as const;
    let sequence = 0;
    const log = () => {
      sequence += 1;
      const entries = [{ sequence, time: world.clock.now(), ...rest }];
      worker.frame({ logs: [{ token, entries }] });
    };
    await live(worker, 10_000, log);
    const away = () => Promise.reject(new DroverError("history_unavailable", "no answer"));
    const addLogs = world.history.addLogs.bind(world.history);
    Object.assign(world.history, { addLogs: away });
    await live(worker, 10_000, log);
    expect(await read(node, id)).toMatchObject({ status: "running", attempt: 1 });
    Object.assign(world.history, { addLogs });
    await live(worker, 8_000);
    const error = { code: "heartbeat_timeout" };
    expect(await row(node, id)).toMatchObject({ status: "failed", error });
  });

  it("take a running task from its worker at the deadline, with no retry", async () => {
    const node = await world.node();
    const id = await submitOne(node, { deadline: world.clock.now() + 10_000 });
    const worker = await leased(node);
    expect(worker.leases[0]!.timeoutMs).toBeLessThanOrEqual(10_000);
    await live(worker, 12_000);
    expect(worker.commands).toMatchObject([{ kind: "revoke" }]);
    const error = { code: "deadline", retryable: false };
    expect(await row(node, id)).toMatchObject({ status: "failed", retryCount: 0, error });
    worker.succeed(worker.leases[0]!);
    await world.until("acked", () => worker.acks.length === 1);
    expect(worker.acks[0]!.verdict).toBe("stale");
  });

  it("leave the error of a handler whose retry would come too late", async () => {
    const node = await world.node();
    const id = await submitOne(
      node,
      { deadline: world.clock.now() + 20_000 },
      { retry: { initialBackoffMs: 30_000, jitter: 0 } },
    );
    const worker = await leased(node);
    worker.fail(worker.leases[0]!, "smtp_down");
    await world.until("acked", () => worker.acks.length === 1);
    expect(await row(node, id)).toMatchObject({ status: "failed", error: { code: "smtp_down" } });
  });
});

describe("the proof of a cancel", () => {
  it("tells when it was asked for and why, delivered and answered", async () => {
    const [one, two] = [await world.node(), await world.node()];
    const id = await submitOne(one, {});
    const worker = await leased(one);
    const askedAt = world.clock.now();
    const asked = await world.wait(
      "cancel",
      two.coordinator.cancel("default", id, 9_000, "wrong customer"),
    );
    expect(asked).toMatchObject({ status: "running", cancellation: { reason: "wrong customer" } });
    await world.until("told", () => worker.commands.length > 0, 1_000);
    expect(worker.commands[0]).toMatchObject({ kind: "cancel" });
    await world.clock.advance(100);
    const told = await read(two, id);
    expect(told.cancelRequestedAt).toBeGreaterThanOrEqual(askedAt);
    expect(told.cancellation!.deliveredAt).toBeGreaterThanOrEqual(told.cancelRequestedAt!);
    const token = worker.leases[0]!.token;
    worker.frame({ results: [{ key: bytesKey(token), outcome: { kind: "cancelled" } }] });
    await world.until("acked", () => worker.acks.length === 1);
    const ended = await row(one, id);
    expect(ended).toMatchObject({ status: "cancelled", cancelRequestedAt: told.cancelRequestedAt });
    expect(ended.cancellation).toEqual({
      reason: "wrong customer",
      deliveredAt: told.cancellation!.deliveredAt,
      acknowledgedAt: ended.completedAt,
      forcedAt: undefined,
    });
  });

  it("tells that the lease was revoked", async () => {
    const node = await world.node();
    const id = await submitOne(node, {});
    const worker = await leased(node);
    await world.wait("cancel", node.coordinator.cancel("default", id, 3_000));
    await live(worker, 5_000);
    const { status, cancellation, completedAt } = await row(node, id);
    expect(status).toBe("cancelled");
    expect(cancellation).toMatchObject({ forcedAt: completedAt, acknowledgedAt: undefined });
    expect(cancellation!.deliveredAt).toBeDefined();
  });

  it("holds while the worker's coordinator is dead: the worker is told where it comes back", async () => {
    const [one, two] = [await world.node(), await world.node()];
    const id = await submitOne(one, {});
    const worker = await leased(one);
    await one.crash();
    await world.wait("cancel", two.coordinator.cancel("default", id, limits.cancelGraceMs));
    const again = new FakeWorker(worker.sessionId, 2);
    const heldTokens = [worker.leases[0]!.token];
    await world.open(two, again, { offer: offer(1), heldTokens });
    expect(again.commands).toMatchObject([{ kind: "cancel", token: heldTokens[0] }]);
    const token = heldTokens[0]!;
    again.frame({ results: [{ key: bytesKey(token), outcome: { kind: "cancelled" } }] });
    await world.until("acked", () => again.acks.length === 1);
    const { status, cancellation } = await row(two, id);
    expect(status).toBe("cancelled");
    expect(cancellation!.deliveredAt).toBeDefined();
    expect(cancellation!.acknowledgedAt).toBeDefined();
  });

  it("holds while nobody comes back: the grace, or the loss of the worker, ends the task", async () => {
    const [one, two] = [await world.node(), await world.node()];
    const id = await submitOne(one, {});
    await leased(one);
    await one.crash();
    await world.wait("cancel", two.coordinator.cancel("default", id, 5_000));
    await world.clock.advance(7_000);
    const { status, cancellation } = await row(two, id);
    expect([status, cancellation!.acknowledgedAt]).toEqual(["cancelled", undefined]);
    expect(cancellation!.forcedAt).toBeDefined();
  });
});

describe("cancelMany", () => {
  const request = (change: object) => ({
    filter: {},
    limit: 1_000,
    dryRun: false,
    pageToken: "",
    graceMs: 5_000,
    reason: "cleaning up",
    ...change,
  });

  it("cancels what fits and has not ended, slice by slice", async () => {
    const node = await world.node();
    const worker = await world.open(node, world.worker(), { offer: offer(1, ["busy"]) });
    const drafts = [
      ...Array.from({ length: 5 }, () => draft({ type: "busy" })),
      draft({ type: "other" }),
    ];
    const ids = await world.submit(node, ...drafts);
    await world.until("leased", () => worker.leases.length === 1);
    const filter = { type: "busy" };
    const dry = node.coordinator.cancelMany("default", request({ filter, dryRun: true }));
    expect(await world.wait("dry", dry)).toMatchObject({ matched: 5, cancelled: 0, requested: 0 });
    const total = { matched: 0, cancelled: 0, requested: 0, ended: 0 };
    let slices = 0;
    for (let pageToken = ""; slices === 0 || pageToken !== ""; slices += 1) {
      const slice = request({ filter, limit: 2, pageToken });
      const reply = await world.wait("slice", node.coordinator.cancelMany("default", slice));
      for (const key of Object.keys(total) as (keyof typeof total)[]) total[key] += reply[key];
      pageToken = reply.nextPageToken;
    }
    expect(total).toEqual({ matched: 5, cancelled: 4, requested: 1, ended: 0 });
    expect(slices).toBeGreaterThanOrEqual(3);
    for (const id of ids.slice(0, 5)) {
      expect((await read(node, id)).cancellation).toMatchObject({ reason: "cleaning up" });
    }
    expect(await read(node, ids[5]!)).toMatchObject({ status: "pending" });
    const again = node.coordinator.cancelMany("default", request({ filter }));
    expect(await world.wait("again", again)).toMatchObject({ matched: 1, requested: 1 });
  });

  it("wants to be told which, and only such as have not ended", async () => {
    const node = await world.node();
    for (const filter of [{}, { statuses: ["failed" as const] }]) {
      const refused = node.coordinator.cancelMany("default", request({ filter }));
      await expect(refused).rejects.toMatchObject({ id: "invalid_field" });
    }
  });
});
