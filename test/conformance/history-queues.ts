import { describe, expect, test } from "vitest";
import { limits } from "../../src/limits.js";
import type { QueueSettings } from "../../src/task/task.js";
import type { HistoryScene } from "./history.js";

const settings = (namespace: string, name: string): QueueSettings => ({
  namespace,
  name,
  paused: true,
  durability: "relaxed",
  maxRetries: 9,
  retry: {
    initialBackoffMs: 10,
    maxBackoffMs: 20,
    multiplier: 3,
    jitter: 0.5,
    nonRetryableCodes: ["x"],
    backoff: "linear",
    delaysMs: [5, 70],
  },
  retentionMs: 1_000,
  types: {
    send_email: { maxRetries: 9, retry: { backoff: "fixed", delaysMs: [1] }, timeoutMs: 1_000 },
    bare: {},
  },
  version: 0,
});

export function exerciseQueuesAndEpochs(scene: () => HistoryScene): void {
  describe("queues", () => {
    test("a queue nobody used is unknown; one that was used has the defaults", async () => {
      const { history, other, namespace } = scene();
      expect(await history.queue(namespace, "mail")).toBeUndefined();
      await history.touchQueues([]);
      const name = { namespace, name: "mail" };
      await Promise.all([history.touchQueues([name, name]), other.touchQueues([name])]);
      expect(await other.queue(namespace, "mail")).toMatchObject({
        ...name,
        paused: false,
        durability: "durable",
        maxRetries: limits.maxRetries,
        retentionMs: limits.retentionMs,
        version: 0,
      });
    });

    test("settings are kept whole and their version rises with every change", async () => {
      const { history, other, namespace } = scene();
      const wanted = settings(namespace, "mail");
      expect(await history.putQueue(wanted, undefined)).toEqual({ ...wanted, version: 1 });
      expect(await other.queue(namespace, "mail")).toEqual({ ...wanted, version: 1 });
      const next = { ...wanted, paused: false };
      expect(await other.putQueue(next, 1)).toEqual({ ...next, version: 2 });
      await history.touchQueues([{ namespace, name: "mail" }]);
      expect(await history.queue(namespace, "mail")).toEqual({ ...next, version: 2 });
    });

    test("a change that rests on another version is not made", async () => {
      const { history, namespace } = scene();
      const wanted = settings(namespace, "mail");
      expect(await history.putQueue(wanted, 3)).toBeUndefined();
      expect(await history.queue(namespace, "mail")).toBeUndefined();
      await history.putQueue(wanted, 0);
      expect(await history.putQueue({ ...wanted, paused: false }, 0)).toBeUndefined();
      expect(await history.putQueue({ ...wanted, paused: false }, 2)).toBeUndefined();
      expect(await history.queue(namespace, "mail")).toEqual({ ...wanted, version: 1 });
    });

    test("of two changes at once that rest on one version, one is made", async () => {
      const { history, other, namespace } = scene();
      const wanted = settings(namespace, "mail");
      await history.putQueue(wanted, 0);
      const replies = await Promise.all([history.putQueue(wanted, 1), other.putQueue(wanted, 1)]);
      expect(new Set(replies.map((reply) => reply?.version))).toEqual(new Set([2, undefined]));
    });

    test("queues are listed by name, page by page, each namespace its own (H5)", async () => {
      const { history, namespace } = scene();
      const names = ["b", "a.x", "Z", "c"].map((name) => ({ namespace, name }));
      await history.touchQueues([...names, { namespace: `${namespace}-x`, name: "foreign" }]);
      const page = async (after: string) =>
        (await history.queues(namespace, after, 3)).map(({ name }) => name);
      expect(await page("")).toEqual(["Z", "a.x", "b"]);
      expect(await page("b")).toEqual(["c"]);
    });

    test("all namespaces together are listed by namespace and name", async () => {
      const { history, namespace } = scene();
      const names = [
        { namespace, name: "same" },
        { namespace: `${namespace}-x`, name: "same" },
      ];
      await history.touchQueues(names);
      const found = [];
      for (let after = ""; ;) {
        const page = await history.queues(undefined, after, 2);
        found.push(...page);
        if (page.length < 2) break;
        after = `${page.at(-1)!.namespace}/${page.at(-1)!.name}`;
      }
      const mine = found.filter((each) => names.some((name) => name.namespace === each.namespace));
      expect(mine.map(({ namespace, name }) => ({ namespace, name }))).toEqual(names);
    });
  });

  describe("partitions and epochs", () => {
    test("the first number of partitions stands", async () => {
      const { history, other } = scene();
      const claimed = await Promise.all([history.claimPartitions(4), other.claimPartitions(8)]);
      expect(new Set(claimed).size).toBe(1);
      expect(await other.claimPartitions(16)).toBe(claimed[0]);
    });

    test("every raise of an epoch gives another, larger number, to whoever asks", async () => {
      const { history, other } = scene();
      const raised = await Promise.all(
        Array.from({ length: 10 }, (_, index) => (index % 2 ? other : history).raiseEpoch(3)),
      );
      expect(new Set(raised).size).toBe(10);
      expect(Math.min(...raised)).toBeGreaterThan(0);
      const next = await history.raiseEpoch(3);
      expect(next).toBeGreaterThan(Math.max(...raised));
      expect(await other.raiseEpoch(2_000)).toBe(1);
    });
  });

  describe("exclusively", () => {
    test("while one holds a name nobody else does, then it is free again", async () => {
      const { history, other, namespace } = scene();
      const name = `rebuild-${namespace}`;
      const inner = await history.exclusively(name, async (signal) => {
        expect(signal.aborted).toBe(false);
        const same = await other.exclusively(name, async () => "second");
        const another = await other.exclusively(`${name}-2`, async () => "elsewhere");
        return [same, another];
      });
      expect(inner).toEqual([undefined, "elsewhere"]);
      expect(await other.exclusively(name, async () => "free")).toBe("free");
    });

    test("the same coordinator does not hold a name twice", async () => {
      const { history, namespace } = scene();
      const inner = await history.exclusively(namespace, () =>
        history.exclusively(namespace, async () => "twice"),
      );
      expect(inner).toBeUndefined();
    });

    test("a name is free again when its work failed", async () => {
      const { history, other, namespace } = scene();
      const work = history.exclusively(namespace, async () => {
        throw new Error("work failed");
      });
      await expect(work).rejects.toThrow("work failed");
      expect(await other.exclusively(namespace, async () => 1)).toBe(1);
    });
  });
}
