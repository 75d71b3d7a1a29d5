import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { describe, expect, it, onTestFinished } from "vitest";
import { type Client, createClient } from "../../src/client/index.js";
import { Fifo } from "../../src/client/fifo.js";
import { Submission, SubmissionQueue } from "../../src/client/submissions.js";
import { systemClock } from "../../src/clock.js";
import { limits } from "../../src/limits.js";
import { type FakeSubmitStream, startFakeCoordinator } from "../support/fake-coordinator.js";
import { eagerRandom } from "../support/worker-kit.js";

async function connect(): Promise<{ client: Client; stream: () => Promise<FakeSubmitStream> }> {
  const coordinator = await startFakeCoordinator();
  const client = createClient({ address: coordinator.address, random: eagerRandom });
  onTestFinished(() => client.close({ graceMs: 0 }));
  return { client, stream: () => coordinator.submits.next("submit stream") };
}

/** Whatever comes, until this one is accepted. */
async function acceptUntil(stream: FakeSubmitStream, last: Promise<unknown>): Promise<void> {
  let isOver = false;
  const over = last.then(() => (isOver = true));
  while (!isOver) await Promise.race([acceptNext(stream), over]);
}

async function acceptNext(stream: FakeSubmitStream): Promise<void> {
  const { items } = await stream.frames.next("frame");
  stream.answer(
    items.map(({ number, requestId: taskId }) => ({ number, outcome: { taskId, status: 1 } })),
  );
}

describe("submits that wait for their turn", () => {
  it("get it though those before them were aborted all at once", async () => {
    const { client, stream } = await connect();
    const controller = new AbortController();
    const many = Array.from({ length: 20_000 }, () => ({ type: "task", payload: 1 }));
    const aborted = client.submitMany(many, { signal: controller.signal });
    const opened = await stream();
    const last = client.submit("last", 2);
    controller.abort(new Error("enough"));
    expect((await aborted).filter(({ ok }) => ok)).toEqual([]);
    await acceptUntil(opened, last);
    expect((await last).status).toBe("submitted");
  });

  it("get it though the one whose turn it was is aborted by then", async () => {
    const { client, stream } = await connect();
    const [first, second] = [new AbortController(), new AbortController()];
    const others = Array.from({ length: 9_999 }, () =>
      client.submit("task", 1, { signal: second.signal }),
    );
    // The last that finds room, and one that waits for its turn, both of one signal.
    const pair = [1, 2].map(() => client.submit("pair", 1, { signal: first.signal }));
    const opened = await stream();
    const last = client.submit("last", 2);
    first.abort(new Error("enough"));
    expect((await Promise.allSettled(pair)).map(({ status }) => status)).toEqual([
      "rejected",
      "rejected",
    ]);
    for (let seen = 0; seen < 10_001;) seen += (await opened.frames.next("frame")).items.length;
    second.abort();
    await Promise.allSettled(others);
    await client.close({ graceMs: 0 });
    await expect(last).rejects.toThrow("closed");
  });

  it("are given up in time", async () => {
    const { client, stream } = await connect();
    const many = Array.from({ length: 10_000 }, () => ({ type: "task", payload: 1 }));
    const controller = new AbortController();
    const others = client.submitMany(many, { signal: controller.signal });
    await stream();
    const last = client.submit("last", 2, { timeoutMs: 50 });
    await expect(last).rejects.toThrow("no answer in time; the task was not stored");
    controller.abort();
    await others;
  });
});

it("may be closed twice at once", async () => {
  const { client, stream } = await connect();
  const submit = client.submit("task", 1);
  const opened = await stream();
  const closes = [client.close({ graceMs: 60_000 }), client.close({ graceMs: 60_000 })];
  await acceptNext(opened);
  await submit;
  await Promise.all(closes);
});

describe("a line of submits", () => {
  it("is gone through in a time that grows with its length alone", () => {
    const line = new Fifo<number>();
    for (let n = 0; n < 400_000; n += 1) line.push(n);
    const startedAt = systemClock.monotonic();
    let inOrder = 0;
    for (let n = 0; n < 400_000; n += 1) if (line.shift() === n) inOrder += 1;
    expect([inOrder, line.shift()]).toEqual([400_000, undefined]);
    expect(systemClock.monotonic() - startedAt).toBeLessThan(5_000);
  });

  it("holds nothing that went, though it is never empty", async () => {
    setFlagsFromString("--expose-gc");
    const collect = runInNewContext("gc") as () => void;
    const queue = new SubmissionQueue();
    const sink = { taken: () => undefined, refused: () => undefined };
    const gone: WeakRef<Submission>[] = [];
    const push = (): void => {
      const submission = new Submission("task", Buffer.alloc(0.6 * limits.frameBytes), sink, 0, 0);
      gone.push(new WeakRef(submission));
      queue.push(submission);
    };
    push();
    for (let n = 0; n < 8; n += 1) {
      push();
      expect(queue.take()).toHaveLength(1);
      // A WeakRef holds on to what it was made of until the turn ends.
      await new Promise((resolve) => setImmediate(resolve));
    }
    collect();
    expect(queue.length).toBe(1);
    expect(gone.filter((one) => one.deref()).length).toBeLessThan(4);
  });
});
