import { describe, expect, it } from "vitest";
import type { Partition } from "../../src/broker/memory/partition.js";
import type { TaskRecord } from "../../src/broker/memory/record.js";
import { runModel } from "../conformance/broker-model.js";
import { brokerChecks, runCheck } from "../conformance/broker.js";
import { makeMemoryBroker, type MemoryHarness } from "../support/memory-harness.js";

interface Mutant {
  readonly name: string;
  /** The promise that it breaks. */
  readonly promise: string;
  breakIt(partition: Partition, harness: MemoryHarness): void;
}

/** Each carries the mistake of a real queue. A suite that lets one of them pass proves nothing. */
const mutants: readonly Mutant[] = [
  {
    name: "the token is not compared",
    promise: "B5",
    breakIt(partition) {
      partition.holdsToken = () => true;
    },
  },
  {
    name: "a reaped lease stays in its session's index",
    promise: "B6",
    breakIt(partition) {
      partition.sessions.detach = () => undefined;
    },
  },
  {
    name: "a promotion loses what it took out",
    promise: "B7",
    breakIt(partition) {
      const move = partition.move.bind(partition);
      let promotions = 0;
      partition.move = (record, event, changes) => {
        if (event !== "promote") return move(record, event, changes);
        promotions += 1;
        if (promotions % 3 === 0) partition.forget(record);
        else move(record, event, changes);
      };
    },
  },
  {
    name: "tombstones are ignored",
    promise: "B1",
    breakIt(partition) {
      partition.tombstoneOf = () => undefined;
    },
  },
  {
    name: "there is no starvation share",
    promise: "B2",
    breakIt(partition) {
      partition.owesLowerLevels = () => false;
    },
  },
  {
    name: "a second sweep doubles what the first one promoted",
    promise: "B7",
    breakIt(partition, { broker }) {
      const sweep = broker.sweep.bind(broker);
      let promoted: TaskRecord[] = [];
      broker.sweep = async (number) => {
        const waiting = [...partition.delayed.values()];
        const reply = await sweep(number);
        for (const record of promoted) {
          if (record.task.status === "pending") record.lane.add({ ...record, heapAt: -1 });
        }
        promoted = waiting.filter((record) => record.task.status === "pending");
        return reply;
      };
    },
  },
];

/** Without the audit: whoever uses the broker must be able to see what is wrong with it. */
const broken =
  (mutant: Mutant): typeof makeMemoryBroker =>
  async (options) => {
    const harness = await makeMemoryBroker({ ...options, audited: false });
    for (const partition of harness.store.partitions) mutant.breakIt(partition, harness);
    return harness;
  };

describe("the suites", () => {
  it.each(mutants)("find a broker in which $name", async (mutant) => {
    const failed: string[] = [];
    for (const check of brokerChecks) {
      await runCheck(check, broken(mutant)).catch(() => failed.push(check.promise));
    }
    expect(failed).toContain(mutant.promise);
    expect(failed.length).toBeLessThan(brokerChecks.length / 2);
  });

  it.each(mutants)("tell from the reference a broker in which $name", async (mutant) => {
    const options = { runs: 300, commands: 60, endOnFailure: true };
    await expect(runModel(broken(mutant), options)).rejects.toThrow("Property failed");
  });
});
