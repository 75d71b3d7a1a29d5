import { describe, expect, it } from "vitest";
import { ResultStatus } from "../../gen/drover/v1/task_pb.js";
import { limits } from "../../src/limits.js";
import { tokenKey } from "../../src/worker/lease-table.js";
import type { Outcome } from "../../src/worker/outcome.js";
import { UnackedResults } from "../../src/worker/results.js";
import { startFakeCoordinator } from "../support/fake-coordinator.js";
import { jsonLease, nameOf, quietLogger, testWorker, tokenOf } from "../support/worker-kit.js";

const outcomeOf = (name: string, bytes: number): Outcome => {
  return { key: tokenKey(tokenOf(name)), bytes, json: undefined, other: undefined };
};
const ackOf = (name: string, status: ResultStatus) => {
  return { key: tokenKey(tokenOf(name)), status, message: "" };
};

describe("results without an ack", () => {
  it("go out in frames of at most 200 and 256 KiB, each once per stream", () => {
    const results = new UnackedResults(10);
    for (let n = 0; n < 250; n += 1) results.add("id", outcomeOf(`small-${n}`, 100));
    for (let n = 0; n < 3; n += 1) results.add("id", outcomeOf(`large-${n}`, 200 * 1024));
    const frames: number[] = [];
    while (results.unsent > 0) frames.push(results.take(1).length);
    expect(frames).toEqual([200, 51, 1, 1]);
    expect(results.take(1)).toEqual([]);
    results.resendAll();
    expect(results.unsent).toBe(253);
  });

  it("fill up at 4,000 or 4 for each slot, or at 16 MiB", () => {
    const few = new UnackedResults(10);
    for (let n = 0; n < 3_999; n += 1) few.add("id", outcomeOf(`${n}`, 10));
    expect(few.full).toBe(false);
    few.add("id", outcomeOf("last", 10));
    expect(few.full).toBe(true);
    few.ack(ackOf("last", ResultStatus.ACCEPTED), 1);
    expect(few.full).toBe(false);

    const many = new UnackedResults(1_500);
    for (let n = 0; n < 5_999; n += 1) many.add("id", outcomeOf(`${n}`, 10));
    expect(many.full).toBe(false);
    many.add("id", outcomeOf("last", 10));
    expect(many.full).toBe(true);

    const large = new UnackedResults(10);
    for (let n = 0; n < 63; n += 1) large.add("id", outcomeOf(`${n}`, 256 * 1024));
    expect(large.full).toBe(false);
    large.add("id", outcomeOf("last", 256 * 1024));
    expect(large.full).toBe(true);
  });

  it("heed a RETRY only if it is about the latest send", () => {
    const results = new UnackedResults(10);
    results.add("id", outcomeOf("a", 10));
    results.take(1);
    expect(results.ack(ackOf("a", ResultStatus.RETRY), 1)).toBe("kept");
    results.resendAll();
    results.take(2);
    expect(results.ack(ackOf("a", ResultStatus.RETRY), 1)).toBe("ignored");
    expect(results.ack(ackOf("b", ResultStatus.ACCEPTED), 2)).toBe("ignored");
    expect(results.ack(ackOf("a", ResultStatus.ACCEPTED), 1)).toBe("settled");
    expect(results.size).toBe(0);
  });

  it("tell whose was not recorded", async () => {
    const warned: unknown[] = [];
    const coordinator = await startFakeCoordinator();
    const warn = (...line: unknown[]) => void warned.push(line);
    const worker = testWorker({
      address: coordinator.address,
      logger: { ...quietLogger, warn },
    });
    worker.handle("task", () => null);
    await worker.start();
    const stream = await coordinator.nextStream();
    stream.lease(jsonLease("a", "task"));
    await stream.frames.next("result", (frame) => frame.results.length > 0);
    const status = ResultStatus.STALE;
    stream.send({ acks: [{ leaseToken: tokenOf("a"), status, message: "leased again" }] });
    await expect
      .poll(() => warned)
      .toEqual([
        [{ task_id: "id-a", status: "stale", reason: "leased again" }, "a result was not recorded"],
      ]);
  });

  it("make the worker offer nothing once they are full, and again when acks come", async () => {
    const coordinator = await startFakeCoordinator();
    const worker = testWorker({ address: coordinator.address, concurrency: 200 });
    worker.handle("task", () => null);
    await worker.start();
    const stream = await coordinator.nextStream();
    const names = Array.from({ length: limits.unackedResultsMin }, (_, n) => `${n}`);
    const tokens: Uint8Array[] = [];
    for (let at = 0; at < names.length; at += 200) {
      stream.lease(...names.slice(at, at + 200).map((name) => jsonLease(name, "task")));
      while (tokens.length < at + 200) {
        const frame = await stream.frames.next("results", (it) => it.results.length > 0);
        tokens.push(...frame.results.map((result) => result.leaseToken));
      }
    }
    const lastOffer = () => stream.frames.all.findLast((frame) => frame.offer)?.offer?.slots;
    if (lastOffer() === undefined) {
      await stream.frames.next("offer", (frame) => frame.offer !== undefined);
    }
    expect(lastOffer()).toBe(0);
    expect(new Set(tokens.map(nameOf)).size).toBe(names.length);
    const status = ResultStatus.ACCEPTED;
    stream.send({ acks: tokens.map((leaseToken) => ({ leaseToken, status })) });
    await stream.frames.next("offer", (frame) => frame.offer?.slots === 200);
    expect(worker.unacked).toBe(0);
  });
});
