import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { TaskEvent } from "../../src/coordinator/coordinator.js";
import { limits } from "../../src/limits.js";
import type { LogEntry } from "../../src/task/log.js";
import { createWorld, draft, offer, type Node, type World } from "./world.js";

let world: World;
beforeEach(() => {
  world = createWorld();
});
afterEach(async () => {
  await world.stop();
});

/** A watch that gathers what it is told. */
function watch(node: Node, taskIds: readonly string[], cursor = "") {
  const stopping = new AbortController();
  const events: TaskEvent[] = [];
  const state = { ended: false, error: undefined as unknown };
  const stream = node.coordinator.watch("default", taskIds, cursor, stopping.signal);
  const done = (async () => {
    for await (const event of stream) events.push(event);
  })().then(
    () => (state.ended = true),
    (error: unknown) => (state.error = error),
  );
  return { events, state, done, stop: () => stopping.abort(new Error("enough")) };
}

const words = (events: readonly TaskEvent[]): string[] =>
  events.map((event) => {
    if (event.kind === "status") return `${event.step.status} ${event.step.attempt}`;
    if (event.kind === "logs") return event.entries.map(({ message }) => message).join(",");
    return `progress ${event.progress.fraction}`;
  });

const logged = (taskId: string, sequence: number, change: Partial<LogEntry> = {}): LogEntry => ({
  taskId,
  fencingToken: 2 ** 40 + 1,
  attempt: 1,
  sequence,
  time: 0,
  level: "info",
  message: `line ${sequence}`,
  fields: "",
  dropped: 0,
  ...change,
});

describe("Watcher", () => {
  it("tells the whole life of a task on another coordinator, and ends with it", async () => {
    const [here, there] = [await world.node(), await world.node()];
    const [id] = await world.submit(here, draft({ maxRetries: 1 }));
    const { events, state } = watch(there, [id!]);
    await world.until("pending", () => events.length === 1);
    const worker = await world.open(here, world.worker(), { offer: offer(1) });
    await world.until("running", () => events.length === 2);
    worker.frame({
      progress: [{ token: worker.leases[0]!.token, fraction: 0.5, message: "half" }],
    });
    await world.until("progress", () => events.length === 3);
    worker.fail(worker.leases[0]!);
    await world.until("again", () => worker.leases.length === 2);
    worker.succeed(worker.leases[1]!);
    await world.until("ended", () => state.ended);
    expect(words(events)).toEqual([
      "pending 0",
      "running 1",
      "progress 0.5",
      "retrying 1",
      "running 2",
      "completed 2",
    ]);
    expect(events.at(-1)).toMatchObject({ task: { status: "completed" } });
  });

  it("goes on after any cursor on another coordinator, without a gap and without a repeat", async () => {
    const [here, there] = [await world.node(), await world.node()];
    const [id] = await world.submit(here, draft({ maxRetries: 3 }));
    const worker = await world.open(here, world.worker(), { offer: offer(1) });
    for (let attempt = 0; attempt < 3; attempt += 1) {
      await world.until("leased", () => worker.leases.length === attempt + 1);
      const { fencingToken } = worker.leases[attempt]!.task;
      const place = { fencingToken, attempt: attempt + 1 };
      await world.history.addLogs([1, 2].map((nth) => logged(id!, nth, place)));
      if (attempt < 2) worker.fail(worker.leases[attempt]!);
      else worker.succeed(worker.leases[attempt]!);
    }
    const whole = watch(here, [id!]);
    await world.until("ended", () => whole.state.ended);
    const said = words(whole.events);
    expect(said).toEqual([
      "pending 0",
      "running 1",
      "line 1,line 2",
      "retrying 1",
      "running 2",
      "line 1,line 2",
      "retrying 2",
      "running 3",
      "line 1,line 2",
      "completed 3",
    ]);
    for (const [index, { cursor }] of whole.events.entries()) {
      const rest = watch(there, [id!], cursor);
      await world.until("ended", () => rest.state.ended);
      expect(words(rest.events)).toEqual(said.slice(index + 1));
    }
  });

  it("tells of logs as they come in", async () => {
    const [here, there] = [await world.node(), await world.node()];
    const [id] = await world.submit(here, draft());
    const { events, stop, done } = watch(there, [id!]);
    const worker = await world.open(here, world.worker(), { offer: offer(1) });
    await world.until("running", () => events.length >= 2);
    const { fencingToken } = worker.leases[0]!.task;
    await world.history.addLogs([logged(id!, 1, { fencingToken })]);
    await here.broker.announceLogs([id!]);
    await world.until("logged", () => words(events).includes("line 1"), 1_000);
    stop();
    await done;
  });

  it("finds by itself what no hint told", async () => {
    const node = await world.node();
    const [id] = await world.submit(node, draft());
    const { events, stop, done } = watch(node, [id!]);
    await world.until("pending", () => events.length === 1);
    await world.history.addLogs([logged(id!, 1)]);
    await world.until("logged", () => events.length === 2, limits.watchMs);
    stop();
    await done;
  });

  it("watches many tasks, and refuses what it cannot", async () => {
    const node = await world.node();
    const ids = await world.submit(node, ...Array.from({ length: 20 }, () => draft()));
    const { events, state } = watch(node, ids);
    const worker = await world.open(node, world.worker(), { offer: offer(20) });
    await world.until("leased", () => worker.leases.length === 20);
    for (const lease of worker.leases) worker.succeed(lease);
    await world.until("ended", () => state.ended);
    for (const id of ids) {
      const own = events.filter(({ taskId }) => taskId === id);
      expect(words(own)).toEqual(["pending 0", "running 1", "completed 1"]);
    }
    const unknown = ids[0]!.replace(/.$/, (last) => (last === "0" ? "1" : "0"));
    const strange = watch(node, [ids[0]!, unknown]);
    await world.until("refused", () => strange.state.error !== undefined);
    expect(strange.state.error).toMatchObject({ id: "task_not_found" });
    for (const cursor of ["nonsense", events.at(-1)!.cursor]) {
      const other = watch(node, [ids[0]!], cursor);
      await world.until("refused", () => other.state.error !== undefined);
      expect(other.state.error).toMatchObject({ id: "invalid_cursor" });
    }
  });

  it("is broken off when its coordinator drains, and goes on elsewhere", async () => {
    const [here, there] = [await world.node(), await world.node()];
    const [id] = await world.submit(there, draft());
    const first = watch(here, [id!]);
    await world.until("pending", () => first.events.length === 1);
    const stopped = here.stop();
    await world.until("broken off", () => first.state.error !== undefined);
    expect(first.state.error).toMatchObject({ id: "shutting_down" });
    const worker = await world.open(there, world.worker(), { offer: offer(1) });
    await world.until("leased", () => worker.leases.length === 1);
    worker.succeed(worker.leases[0]!);
    const rest = watch(there, [id!], first.events[0]!.cursor);
    await world.until("ended", () => rest.state.ended);
    expect(words(rest.events)).toEqual(["running 1", "completed 1"]);
    await world.wait("stopped", stopped);
  });
});
