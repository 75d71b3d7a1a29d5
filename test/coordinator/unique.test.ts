import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { DroverError } from "../../src/errors.js";
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
