import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { DroverError } from "../../src/errors.js";
import { formTaskId } from "../../src/task/ids.js";
import type { UniqueRule } from "../../src/task/task.js";
import { createWorld, draft, offer, type Node, type World } from "./world.js";

let world: World;
beforeEach(() => {
  world = createWorld();
});
afterEach(async () => {
  await world.stop();
});

const rule = { key: "order-7", scope: "until_final", windowMs: undefined } as const;

function submit(node: Node, change: Partial<UniqueRule> = {}, requestId = "") {
  const unique: UniqueRule = { ...rule, onConflict: "return_existing", ...change };
  const item = { draft: draft({ terms: { unique } }), requestId };
  return node.coordinator.submit("default", [item]).then(([outcome]) => outcome!);
}

const submitted = async (node: Node, change: Partial<UniqueRule> = {}): Promise<string> => {
  const outcome = await world.wait("submit", submit(node, change));
  if (outcome.kind !== "submitted") throw new Error(JSON.stringify(outcome));
  return outcome.taskId;
};

describe("a unique key", () => {
  it("answers with its holder, or refuses and names it, on every coordinator", async () => {
    const [one, two] = [await world.node(), await world.node()];
    const taskId = await submitted(one);
    const again = await world.wait("again", submit(two));
    expect(again).toEqual({ kind: "existing", taskId });
    const refused = await world.wait("refused", submit(two, { onConflict: "reject" }));
    expect(refused).toMatchObject({ kind: "refused", error: { id: "unique_conflict" } });
    const { error } = refused as { error: DroverError };
    expect(error.message).toContain(taskId);
    expect(error.field).toBe("task.unique_key");
  });

  it("is free as soon as its holder is seen to have ended", async () => {
    const node = await world.node();
    const worker = await world.open(node, world.worker(), { offer: offer(1) });
    const first = await submitted(node);
    await world.until("leased", () => worker.leases.length === 1);
    expect(await world.wait("running", submit(node))).toEqual({ kind: "existing", taskId: first });
    worker.succeed(worker.leases[0]!);
    await world.until("acked", () => worker.acks.length === 1);
    expect(await submitted(node)).not.toBe(first);
  });

  it("waits for history where its holder has ended in the broker only", async () => {
    const node = await world.node();
    const worker = await world.open(node, world.worker(), { offer: offer(1) });
    const first = await submitted(node);
    await world.until("leased", () => worker.leases.length === 1);
    const { history } = world;
    const real = history.record.bind(history);
    const away = () => Promise.reject(new DroverError("history_unavailable", "no answer"));
    Object.assign(history, { record: away });
    worker.succeed(worker.leases[0]!);
    const ended = async () => (await node.broker.get([first]))[0]?.status === "completed";
    while (!(await ended())) await world.clock.advance(5);
    const second = submit(node);
    await world.clock.advance(1_000);
    Object.assign(history, { record: real });
    expect(await world.wait("second", second)).toMatchObject({ kind: "submitted" });
  });

  it("is free once its holder was leased, where the scope says so", async () => {
    const node = await world.node();
    const scope = "until_started";
    const first = await submitted(node, { scope });
    const waiting = await world.wait("waiting", submit(node, { scope }));
    expect(waiting).toEqual({ kind: "existing", taskId: first });
    const worker = await world.open(node, world.worker(), { offer: offer(1) });
    await world.until("leased", () => worker.leases.length === 1);
    const second = await submitted(node, { scope });
    expect(await world.wait("third", submit(node, { scope }))).toEqual({
      kind: "existing",
      taskId: second,
    });
  });

  describe("whose holder waits", () => {
    const replace = { onConflict: "replace" } as const;
    const debounce = { onConflict: "debounce", windowMs: 10_000 } as const;
    const statusOf = async (node: Node, id: string) =>
      (await world.wait("get", node.coordinator.get("default", id))).status;
    const running = async (node: Node) => {
      const worker = await world.open(node, world.worker(), { offer: offer(1) });
      await world.until("leased", () => worker.leases.length === 1);
      return worker;
    };

    it("goes to a later task, which alone is run", async () => {
      const [one, two] = [await world.node(), await world.node()];
      const first = await submitted(one, replace);
      const second = await world.wait("second", submit(two, replace));
      expect(second).toMatchObject({ kind: "replaced" });
      const { taskId } = second as { taskId: string };
      expect(taskId).not.toBe(first);
      const before = await world.wait("get", one.coordinator.get("default", first));
      expect(before.status).toBe("cancelled");
      expect(before.cancellation?.reason).toContain(taskId);
      expect(await world.wait("third", submit(one))).toEqual({ kind: "existing", taskId });
      const worker = await running(one);
      expect(worker.leases.map(({ task }) => task.id)).toEqual([taskId]);
    });

    it("stays with one that runs, unless it was free from the start on", async () => {
      const node = await world.node();
      const first = await submitted(node, replace);
      const worker = await running(node);
      const held = await world.wait("held", submit(node, replace));
      expect(held).toEqual({ kind: "existing", taskId: first });
      expect(await statusOf(node, first)).toBe("running");
      worker.succeed(worker.leases[0]!);
      await world.until("acked", () => worker.acks.length === 1);
      worker.frame({ offer: offer(0) });
      const scope = "until_started";
      const second = await submitted(node, { ...replace, scope });
      worker.frame({ offer: offer(1) });
      await world.until("leased again", () => worker.leases.length === 2);
      const third = await submitted(node, { ...replace, scope });
      expect(await statusOf(node, second)).toBe("running");
      expect(await statusOf(node, third)).toBe("pending");
    });

    it("makes the last of many submissions run once they have ceased for the window", async () => {
      const node = await world.node();
      const worker = await world.open(node, world.worker(), { offer: offer(1) });
      let last = await submitted(node, debounce);
      for (let n = 0; n < 5; n += 1) {
        await world.clock.advance(8_000);
        const outcome = await world.wait("again", submit(node, debounce));
        expect(outcome).toMatchObject({ kind: "debounced" });
        last = (outcome as { taskId: string }).taskId;
      }
      expect(worker.leases).toEqual([]);
      const since = world.clock.now();
      await world.until("leased", () => worker.leases.length === 1);
      expect(worker.leases[0]!.task.id).toBe(last);
      expect(world.clock.now() - since).toBeGreaterThanOrEqual(9_900);
      expect(world.clock.now() - since).toBeLessThan(11_000);
    });

    it("answers a repeated request with the task it made", async () => {
      const [one, two] = [await world.node(), await world.node()];
      await submitted(one, replace);
      const requestId = formTaskId(world.clock.now(), 1, Buffer.alloc(8, 1));
      const made = (await world.wait("made", submit(one, replace, requestId))) as {
        taskId: string;
      };
      expect(made).toMatchObject({ kind: "replaced" });
      const again = await world.wait("again", submit(two, replace, requestId));
      expect(again).toEqual({ kind: "existing", taskId: made.taskId });
    });

    it("is lost by nobody when the coordinator dies before history knows", async () => {
      const [one, two] = [await world.node(), await world.node()];
      const first = await submitted(one, replace);
      const { history } = world;
      const real = history.record.bind(history);
      Object.assign(history, {
        record: () => Promise.reject(new DroverError("history_unavailable", "no answer")),
      });
      void submit(one, replace).catch(() => undefined);
      const ended = async () => (await two.broker.get([first]))[0]?.status === "cancelled";
      while (!(await ended())) await world.clock.advance(5);
      await one.crash();
      Object.assign(history, { record: real });
      const third = await world.wait("third", submit(two));
      expect(third).toMatchObject({ kind: "existing" });
      const { taskId } = third as { taskId: string };
      expect(taskId).not.toBe(first);
      const worker = await running(two);
      expect(worker.leases.map(({ task }) => task.id)).toEqual([taskId]);
    });

    it("is in the end the last one's of one request", async () => {
      const node = await world.node();
      const unique: UniqueRule = { ...rule, ...replace };
      const item = { draft: draft({ terms: { unique } }), requestId: "" };
      const many = Array.from({ length: 40 }, () => item);
      const since = world.clock.now();
      const outcomes = await world.wait("many", node.coordinator.submit("default", many));
      expect(world.clock.now() - since).toBeLessThan(1_000);
      const ids = outcomes.map((outcome) => (outcome as { taskId: string }).taskId);
      expect(await statusOf(node, ids.at(-1)!)).toBe("pending");
      const others = await Promise.all(ids.slice(0, -1).map((id) => statusOf(node, id)));
      expect(new Set(others)).toEqual(new Set(["cancelled"]));
    });

    it("goes from hand to hand, so that one lives however many replace it at once", async () => {
      const nodes = [await world.node(), await world.node()];
      const all = Array.from({ length: 30 }, (_, n) => submit(nodes[n % 2]!, replace));
      const outcomes = await world.wait("all", Promise.all(all));
      const ids = outcomes.map((outcome) => (outcome as { taskId: string }).taskId);
      const statuses = await Promise.all([...new Set(ids)].map((id) => statusOf(nodes[0]!, id)));
      expect(statuses.filter((status) => status !== "cancelled")).toEqual(["pending"]);
      expect(outcomes.filter(({ kind }) => kind === "submitted")).toHaveLength(1);
    });
  });

  it("holds on a RELAXED queue as on any other", async () => {
    const node = await world.node();
    const relaxed = node.coordinator.updateQueue("default", "default", { durability: "relaxed" });
    await world.wait("relaxed", relaxed);
    const taskId = await submitted(node);
    expect(await world.wait("again", submit(node))).toEqual({ kind: "existing", taskId });
    const worker = await world.open(node, world.worker(), { offer: offer(1) });
    await world.until("leased", () => worker.leases.length === 1);
    worker.succeed(worker.leases[0]!);
    await world.until("acked", () => worker.acks.length === 1);
    expect(await submitted(node)).not.toBe(taskId);
  });

  it("is won once by many submissions at once, and by nobody else until it is free", async () => {
    const nodes = [await world.node(), await world.node()];
    const outcomes = await world.wait(
      "all",
      Promise.all(Array.from({ length: 20 }, (_, n) => submit(nodes[n % 2]!))),
    );
    const won = outcomes.filter(({ kind }) => kind === "submitted");
    expect(won).toHaveLength(1);
    const ids = new Set(outcomes.map((outcome) => "taskId" in outcome && outcome.taskId));
    expect(ids.size).toBe(1);
  });
});
