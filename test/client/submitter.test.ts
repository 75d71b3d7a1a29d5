import { describe, expect, it, onTestFinished } from "vitest";
import { type ClientOptions, createClient } from "../../src/client/index.js";
import { Code } from "../../src/errors.js";
import { startFakeCoordinator, type FakeSubmitStream } from "../support/fake-coordinator.js";
import { createManualClock } from "../support/manual-clock.js";
import { eagerRandom, reach } from "../support/worker-kit.js";

function clientOf(address: string | string[], options: ClientOptions = {}) {
  const client = createClient({ address, random: eagerRandom, ...options });
  onTestFinished(() => client.close({ graceMs: 0 }));
  return client;
}

type Items = Awaited<ReturnType<FakeSubmitStream["frames"]["next"]>>["items"];
const accept = (stream: FakeSubmitStream, items: Items): void =>
  stream.answer(
    items.map(({ number, requestId: taskId }) => ({ number, outcome: { taskId, status: 1 } })),
  );

describe("submitting", () => {
  it("makes frames of at most 1,000 tasks and 1 MiB", async () => {
    const coordinator = await startFakeCoordinator();
    const client = clientOf(coordinator.address);
    const payload = "x".repeat(200 * 1024);
    const submits = Promise.all([
      ...Array.from({ length: 2_500 }, () => client.submit("small", 1)),
      ...Array.from({ length: 12 }, () => client.submit("large", payload)),
    ]);
    const stream = await coordinator.submits.next("submit stream");
    const sizes: number[] = [];
    for (let seen = 0; seen < 2_512;) {
      const { items } = await stream.frames.next("frame");
      sizes.push(items.length);
      seen += items.length;
      accept(stream, items);
    }
    expect(new Set((await submits).map(({ id }) => id)).size).toBe(2_512);
    expect(Math.max(...sizes)).toBe(1_000);
    expect(sizes.filter((size) => size <= 5).length).toBeGreaterThanOrEqual(2);
  });

  it("takes 10,000 at once, and lets the rest wait their turn", async () => {
    const coordinator = await startFakeCoordinator();
    const client = clientOf(coordinator.address);
    const aborted = new AbortController();
    const submits = Array.from({ length: 10_000 }, () => client.submit("task", 1));
    const last = client.submit("task", 2);
    const impatient = client.submit("task", 3, { signal: aborted.signal });
    aborted.abort(new Error("enough"));
    await expect(impatient).rejects.toThrow("enough");
    const stream = await coordinator.submits.next("submit stream");
    let seen: Items = [];
    while (seen.length < 10_000) {
      seen = [...seen, ...(await stream.frames.next("frame")).items];
    }
    expect(stream.frames.waiting).toEqual([]);
    accept(stream, seen.slice(0, 1));
    const { items } = await stream.frames.next("frame");
    expect(items).toHaveLength(1);
    accept(stream, [...seen.slice(1), ...items]);
    await Promise.all([...submits, last]);
  });

  it("gives up after 5 minutes, and says what is known", async () => {
    const clock = createManualClock();
    const coordinator = await startFakeCoordinator();
    const client = clientOf(coordinator.address, { clock });
    const submit = client.submit("task", 1).catch((error: unknown) => error);
    const stream = await reach(clock, coordinator.submits.next("submit stream"));
    const outcome = { error: { code: "broker_unavailable", message: "Redis is away" } };
    const startedAt = clock.monotonic();
    const ended = submit.then(() => undefined);
    const seen: Items = [];
    for (;;) {
      const frame = await reach(clock, Promise.race([stream.frames.next("frame"), ended]));
      if (!frame) break;
      seen.push(...frame.items);
      await clock.advance(10_000);
      stream.answer([{ number: frame.items[0]!.number, outcome }]);
    }
    const error = await submit;
    expect(error).toMatchObject({ code: Code.unavailable, id: "broker_unavailable" });
    expect((error as Error).message).toContain("is unknown (last: Redis is away)");
    expect(seen).toHaveLength(30);
    expect(new Set(seen.map(({ requestId }) => requestId)).size).toBe(1);
    expect(clock.monotonic() - startedAt).toBe(300_000);
  });

  it("says that nothing was stored when no coordinator could be reached", async () => {
    const gone = await startFakeCoordinator();
    gone.stop();
    const client = clientOf(gone.address);
    const error = await client
      .submit("task", 1, { timeoutMs: 50 })
      .catch((thrown: unknown) => thrown);
    expect((error as Error).message).toContain("the task was not stored");
  });

  it("stops waiting on a signal, and for what is answered late nobody minds", async () => {
    const coordinator = await startFakeCoordinator();
    const client = clientOf(coordinator.address);
    const controller = new AbortController();
    const submit = client.submit("task", 1, { signal: controller.signal });
    const stream = await coordinator.submits.next("submit stream");
    const { items } = await stream.frames.next("frame");
    controller.abort(new Error("changed my mind"));
    await expect(submit).rejects.toThrow("changed my mind");
    accept(stream, items);
    const next = client.submit("task", 2);
    accept(stream, (await stream.frames.next("frame")).items);
    expect((await next).status).toBe("submitted");
  });

  it("refuses at once what no coordinator takes", async () => {
    const client = clientOf("127.0.0.1:1");
    await expect(client.submit("task", "x".repeat(262_144))).rejects.toMatchObject({
      code: Code.invalidArgument,
      id: "payload_too_large",
      field: "task.payload",
    });
    await expect(client.submit("task", 1n)).rejects.toMatchObject({ id: "invalid_field" });
  });

  it("throws what the whole stream is refused with", async () => {
    const coordinator = await startFakeCoordinator();
    const client = clientOf(coordinator.address, { headers: { authorization: "Bearer wrong" } });
    const submit = client.submit("task", 1).catch((thrown: unknown) => thrown);
    const stream = await coordinator.submits.next("submit stream");
    await stream.frames.next("frame");
    stream.end(Code.unauthenticated, "no such key");
    expect(await submit).toMatchObject({ code: Code.unauthenticated, message: "no such key" });
  });

  it("goes on after a coordinator ended the stream in order", async () => {
    const coordinator = await startFakeCoordinator();
    const client = clientOf(coordinator.address);
    const submit = client.submit("task", 1);
    const before = await coordinator.submits.next("submit stream");
    await before.frames.next("frame");
    before.end();
    const after = await coordinator.submits.next("submit stream");
    accept(after, (await after.frames.next("frame")).items);
    await submit;
  });

  it("waits for the answers when the client closes, but not for ever", async () => {
    const coordinator = await startFakeCoordinator();
    const client = clientOf(coordinator.address);
    const submits = [client.submit("task", 1), client.submit("task", 2)];
    const stream = await coordinator.submits.next("submit stream");
    const { items } = await stream.frames.next("frame");
    const closed = client.close();
    accept(stream, items);
    await Promise.all(submits);
    await closed;
    await stream.ended;
    await expect(client.submit("task", 3)).rejects.toMatchObject({ id: "client_closed" });
    await expect(client.stats()).rejects.toMatchObject({ id: "client_closed" });

    const other = clientOf(coordinator.address);
    const lost = other.submit("task", 1).catch((thrown: unknown) => thrown);
    await coordinator.submits.next("submit stream");
    await other.close({ graceMs: 1 });
    expect(await lost).toMatchObject({ id: "client_closed" });
  });

  it("when it closes, tells all that have no answer, whichever were answered", async () => {
    const coordinator = await startFakeCoordinator();
    const client = clientOf(coordinator.address);
    const outcomes = Array.from({ length: 6 }, (_, nth) =>
      client.submit("task", nth).then(
        () => "taken",
        (error: { id: string }) => error.id,
      ),
    );
    const stream = await coordinator.submits.next("submit stream");
    const { items } = await stream.frames.next("frame");
    for (const nth of [5, 2, 1]) {
      accept(stream, [items[nth]!]);
      await outcomes[nth];
    }
    await client.close({ graceMs: 1 });
    const lost = "client_closed";
    expect(await Promise.all(outcomes)).toEqual([lost, "taken", "taken", lost, lost, "taken"]);
  });

  it("lets go of a stream nobody uses", async () => {
    const clock = createManualClock();
    const coordinator = await startFakeCoordinator();
    const client = clientOf(coordinator.address, { clock });
    const submit = client.submit("task", 1);
    const stream = await reach(clock, coordinator.submits.next("submit stream"));
    accept(stream, (await reach(clock, stream.frames.next("frame"))).items);
    await submit;
    await clock.advance(10_000);
    await reach(clock, stream.ended);
  });
});
