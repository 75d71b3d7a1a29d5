import { describe, expect, it } from "vitest";
import { limits } from "../../src/limits.js";
import { StreamPort } from "../../src/api/session-port.js";
import { readAnswer } from "../../src/worker/hot-frames.js";
import { createManualClock } from "../support/manual-clock.js";
import { createSeededRandom } from "../support/seeded-random.js";
import { createTaskFactory } from "../support/task-factory.js";

const factory = createTaskFactory(createSeededRandom(1), () => 1_000);
const acks = [{ token: Buffer.from("done"), verdict: "accepted", message: "" }] as const;
const lease = () => ({
  token: Buffer.from("next"),
  sessionId: "s",
  task: factory.task({ fencingToken: 7, attempt: 1 }),
  timeoutMs: limits.attemptTimeoutMs,
});

function openPort() {
  const clock = createManualClock();
  const frames: string[][] = [];
  const stream = {
    writable: true,
    listen: () => undefined,
    write(bytes: Buffer) {
      const { leases, acks: answered } = readAnswer(bytes);
      frames.push([...leases.map(({ key }) => key), ...answered.map(({ key }) => `ack ${key}`)]);
    },
    pause: () => undefined,
    resume: () => undefined,
  };
  let over = false;
  const port = new StreamPort({
    clock,
    stream,
    abort: () => undefined,
    onWritable: () => undefined,
    onOver: () => void (over = true),
  });
  const tick = () => new Promise((resolve) => setImmediate(resolve));
  return { clock, frames, port, tick, isOver: () => over };
}

describe("acks on their way to a worker", () => {
  it("ride with the leases that come soon after", async () => {
    const { frames, port, tick } = openPort();
    port.send({ acks });
    await tick();
    expect(frames).toEqual([]);
    port.send({ leases: [lease()] });
    await tick();
    expect(frames).toEqual([["next", "ack done"]]);
  });

  it("go alone after 20 ms, and are not sent twice", async () => {
    const { clock, frames, port, tick } = openPort();
    port.send({ acks });
    await clock.advance(19);
    expect(frames).toEqual([]);
    await clock.advance(1);
    expect(frames).toEqual([["ack done"]]);
    port.send({ leases: [lease()] });
    await tick();
    await clock.advance(100);
    expect(frames).toEqual([["ack done"], ["next"]]);
  });

  it("ride with leases that go at once, before the end of the tick", () => {
    const { frames, port } = openPort();
    port.send({ acks });
    port.send({ leases: [lease()] }, true);
    expect(frames).toEqual([["next", "ack done"]]);
  });

  it("go out before the end of the stream", async () => {
    const { frames, port, tick, isOver } = openPort();
    port.send({ acks });
    port.close();
    await tick();
    expect([frames, isOver()]).toEqual([[["ack done"]], true]);
  });
});
