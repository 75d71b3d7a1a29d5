import { describe, expect, test } from "vitest";
import { limits } from "../../src/limits.js";
import { newBatch } from "../support/batch-factory.js";
import type { HistoryScene } from "./history.js";
import { ended } from "./history-harness.js";

/** H1: rows, keys and marker are one commit. */
export function exerciseInsert(scene: () => HistoryScene): void {
  describe("insert", () => {
    test("a task is read back exactly as it was inserted (H1)", async () => {
      const { history, namespace, task } = scene();
      const { batch } = await history.batches.create(newBatch({ namespace }));
      const whole = task({
        queue: "mail",
        type: "resize.image-2",
        priority: 3,
        payload: { contentType: "", data: new Uint8Array([0, 255, 10, 92, 34]) },
        maxRetries: 0,
        retry: {
          initialBackoffMs: 5,
          maxBackoffMs: 50,
          multiplier: 1.5,
          jitter: 0,
          nonRetryableCodes: ["bad_input"],
          backoff: "linear",
          delaysMs: [5, 70],
        },
        timeoutMs: 1_234,
        groupKey: "customer/7",
        requiredLabels: { gpu: "yes" },
        tags: ["a", "b,c", 'd"e'],
        idempotencyKey: "order-7",
        retentionMs: 0,
        traceContext: { traceparent: "00-1-2-01" },
        durability: "relaxed",
        terms: {
          unique: { key: "k\u0000", scope: "until_started", windowMs: 7, onConflict: "debounce" },
          expireAt: 4_000_000_000_000,
          batchId: batch.id,
          schedule: "nightly/größe",
        },
        cancellation: {
          reason: "no longer wanted",
          deliveredAt: 7,
          acknowledgedAt: undefined,
          forcedAt: 9,
        },
        checkpoint: { contentType: "", data: Buffer.from([0, 255, 10]) },
      });
      await history.insert([whole]);
      const [read] = await history.get(namespace, [whole.id]);
      expect({ ...read, payload: undefined }).toEqual({ ...whole, payload: undefined });
      expect(read?.payload?.contentType).toBe("");
      expect(Buffer.from(read!.payload!.data)).toEqual(Buffer.from(whole.payload!.data));
    });

    test("an empty payload and no payload are told apart (H1)", async () => {
      const { history, namespace, task } = scene();
      const empty = task({ payload: { contentType: "text/plain", data: new Uint8Array() } });
      const none = task({ payload: undefined });
      await history.insert([empty, none]);
      const [first, second] = await history.get(namespace, [empty.id, none.id]);
      expect(first?.payload?.data.byteLength).toBe(0);
      expect(second?.payload).toBeUndefined();
    });

    test("a thousand tasks are one commit with one marker (H1)", async () => {
      const { history, namespace, tasks } = scene();
      const { outcomes, marker } = await history.insert(tasks(1_000));
      expect(new Set(outcomes.map(({ kind }) => kind))).toEqual(new Set(["inserted"]));
      expect(marker).toMatch(/^[0-9a-f-]{36}$/);
      expect(await history.liveCount(namespace)).toBe(1_000);
      const stale = await history.staleMarkers(0, 10_000);
      expect(stale.find((found) => found.marker === marker)?.tasks).toHaveLength(1_000);
    });

    test("tasks with large payloads are one commit too, whatever their bytes (H1)", async () => {
      const { history, namespace, tasks } = scene();
      const payload = { contentType: "", data: Buffer.alloc(limits.payloadBytes, 7) };
      const { marker } = await history.insert(tasks(40, { payload }));
      expect(await history.liveCount(namespace)).toBe(40);
      const stale = await history.staleMarkers(0, 10_000);
      expect(stale.find((found) => found.marker === marker)?.tasks).toHaveLength(40);
    });

    test("nothing inserted leaves no marker (H1)", async () => {
      const { history, task } = scene();
      expect(await history.insert([])).toEqual({ outcomes: [], marker: undefined });
      const known = task();
      await history.insert([known]);
      const again = await history.insert([known]);
      expect(again).toEqual({ outcomes: [{ kind: "known" }], marker: undefined });
    });

    test("an id that stands already is known, and what stands is not changed (H1)", async () => {
      const { history, other, namespace, task } = scene();
      const first = task();
      const fresh = task();
      await history.insert([first]);
      const { outcomes } = await other.insert([{ ...first, type: "another" }, fresh]);
      expect(outcomes).toEqual([{ kind: "known" }, { kind: "inserted" }]);
      expect((await history.get(namespace, [first.id]))[0]?.type).toBe(first.type);
    });

    test("the same id twice in a batch is inserted once (H1)", async () => {
      const { history, task } = scene();
      const one = task();
      const { outcomes } = await history.insert([one, one]);
      expect(outcomes).toEqual([{ kind: "inserted" }, { kind: "known" }]);
    });

    test("the second task with an idempotency key loses to the first (H1)", async () => {
      const { history, other, namespace, task } = scene();
      const first = task({ idempotencyKey: "order-1" });
      const second = task({ idempotencyKey: "order-1" });
      await history.insert([first]);
      const { outcomes, marker } = await other.insert([second]);
      expect(outcomes).toEqual([{ kind: "key_taken", taskId: first.id }]);
      expect(marker).toBeUndefined();
      expect(await history.get(namespace, [second.id])).toEqual([undefined]);
      expect(await other.keyHolder(namespace, "default", "order-1")).toBe(first.id);
    });

    test("of several tasks with one key in a batch the first wins (H1)", async () => {
      const { history, task } = scene();
      const key = { idempotencyKey: "same" };
      const [a, b, c, plain] = [task(key), task(key), task(key), task()];
      const { outcomes } = await history.insert([a, b, c, plain]);
      const taken = { kind: "key_taken", taskId: a.id };
      expect(outcomes).toEqual([{ kind: "inserted" }, taken, taken, { kind: "inserted" }]);
    });

    test("a repeated insert with its own key is known, not taken (H1)", async () => {
      const { history, task } = scene();
      const one = task({ idempotencyKey: "mine" });
      await history.insert([one]);
      expect((await history.insert([one])).outcomes).toEqual([{ kind: "known" }]);
    });

    test("keys of other queues and namespaces do not meet (H1, H5)", async () => {
      const { history, namespace, task } = scene();
      const key = { idempotencyKey: "shared" };
      const { outcomes } = await history.insert([
        task(key),
        task({ ...key, queue: "other" }),
        task({ ...key, namespace: `${namespace}-x` }),
      ]);
      expect(outcomes.map(({ kind }) => kind)).toEqual(["inserted", "inserted", "inserted"]);
    });

    test("two coordinators that claim keys at once agree on every holder (H1)", async () => {
      const { history, other, namespace, task } = scene();
      const keys = Array.from({ length: 60 }, (_, index) => `key-${index}`);
      const mine = keys.map((idempotencyKey) => task({ idempotencyKey }));
      const theirs = keys.toReversed().map((idempotencyKey) => task({ idempotencyKey }));
      const replies = await Promise.all([history.insert(mine), other.insert(theirs)]);
      const asked = [...mine, ...theirs];
      const outcomes = replies.flatMap((reply) => reply.outcomes);
      const won = asked.filter((_, index) => outcomes[index]!.kind === "inserted");
      expect(new Set(won.map(({ idempotencyKey }) => idempotencyKey))).toEqual(new Set(keys));
      expect(won).toHaveLength(keys.length);
      const holders = new Map(won.map(({ idempotencyKey, id }) => [idempotencyKey, id]));
      for (const [index, outcome] of outcomes.entries()) {
        if (outcome.kind !== "key_taken") continue;
        expect(outcome.taskId).toBe(holders.get(asked[index]!.idempotencyKey));
      }
      expect(await history.keyHolder(namespace, "default", "key-5")).toBe(holders.get("key-5"));
    });

    test("many inserts at once that share keys and ids all end (H1)", async () => {
      const { history, other, namespace, task } = scene();
      const keys = Array.from({ length: 8 }, (_, index) => `hot-${index}`);
      const shared = keys.map((idempotencyKey) => task({ idempotencyKey }));
      const rounds = Array.from({ length: 12 }, (_, round) => {
        const fresh = keys.map((idempotencyKey) => task({ idempotencyKey }));
        const batch = round % 3 === 0 ? shared : fresh;
        const ordered = round % 2 === 0 ? batch : batch.toReversed();
        return (round % 2 === 0 ? history : other).insert(ordered);
      });
      const outcomes = (await Promise.all(rounds)).flatMap((reply) => reply.outcomes);
      expect(outcomes.filter(({ kind }) => kind === "inserted")).toHaveLength(keys.length);
      expect(await history.liveCount(namespace)).toBe(keys.length);
    });

    test("a key may be taken again after its 24 hours (H1)", async () => {
      const { harness, history, namespace, task } = scene();
      const key = { idempotencyKey: "daily" };
      const [first, early, late] = [task(key), task(key), task(key)];
      await history.insert([first]);
      await harness.age(limits.idempotencyKeyMs - 60_000);
      expect((await history.insert([early])).outcomes[0]?.kind).toBe("key_taken");
      await harness.age(120_000);
      expect(await history.keyHolder(namespace, "default", "daily")).toBeUndefined();
      expect((await history.insert([late])).outcomes).toEqual([{ kind: "inserted" }]);
      expect(await history.keyHolder(namespace, "default", "daily")).toBe(late.id);
    });

    test("text that a database refuses fails neither its task nor the batch (H1)", async () => {
      const { history, namespace, task, query } = scene();
      const text = 'nul \0 lone \ud800 slash \\ quote " brace {a,b} 👍🏽 e\u0301 \u202e';
      const odd = task({
        type: text,
        queue: text,
        groupKey: text,
        idempotencyKey: text,
        tags: [text, "NULL", ""],
        requiredLabels: { [text]: text },
        traceContext: { tracestate: text },
        payload: { contentType: text, data: Buffer.from(text) },
        workerId: text,
      });
      const plain = task();
      const { outcomes } = await history.insert([plain, odd]);
      expect(outcomes).toEqual([{ kind: "inserted" }, { kind: "inserted" }]);
      const [read] = await history.get(namespace, [odd.id]);
      expect({ ...read, payload: undefined }).toEqual({ ...odd, payload: undefined });
      expect(read?.payload?.contentType).toBe(text);
      for (const filter of [{ type: text }, { queue: text }, { tag: text }, { tag: "NULL" }]) {
        expect((await history.list(query(filter))).tasks.map(({ id }) => id)).toEqual([odd.id]);
      }
      expect(await history.keyHolder(namespace, text, text)).toBe(odd.id);
      expect(
        await history.keyHolder(namespace, text, text.replace("\0", "\\u0000")),
      ).toBeUndefined();
    });

    test("numbers beyond what a column holds do not fail a batch (H1)", async () => {
      const { history, task } = scene();
      const wild = task({ readyAt: Number.POSITIVE_INFINITY, retentionMs: 1.5, attempt: 2 ** 40 });
      const { outcomes } = await history.insert([task(), wild]);
      expect(outcomes).toEqual([{ kind: "inserted" }, { kind: "inserted" }]);
    });

    test("a marker finds what is live of its commit until it is cleared (H1)", async () => {
      const { harness, history, other, tasks } = scene();
      const batch = tasks(3);
      const { marker } = await history.insert(batch);
      await history.record([ended(batch[1]!, "completed")]);
      const fresh = await other.staleMarkers(limits.commitMarkerIdleMs, 10_000);
      expect(fresh.map((found) => found.marker)).not.toContain(marker);
      await harness.age(limits.commitMarkerIdleMs);
      const stale = await other.staleMarkers(limits.commitMarkerIdleMs, 10_000);
      const found = stale.find((each) => each.marker === marker);
      expect(found?.tasks.map(({ id }) => id)).toEqual([batch[0]!.id, batch[2]!.id]);
      expect(found?.tasks[0]?.payload).toBeDefined();
      await other.clearMarkers([marker!]);
      const left = await other.staleMarkers(0, 10_000);
      expect(left.map((each) => each.marker)).not.toContain(marker);
    });

    test("a marker whose tasks have all ended is given without tasks (H1)", async () => {
      const { history, task } = scene();
      const one = task();
      const { marker } = await history.insert([one]);
      await history.record([ended(one, "completed")]);
      expect(await history.staleMarkers(0, 10_000)).toContainEqual({ marker, tasks: [] });
    });

    test("markers come oldest first, and no more than asked for (H1)", async () => {
      const { harness, history, task } = scene();
      const { marker } = await history.insert([task()]);
      await harness.age(365 * 86_400_000);
      await history.insert([task()]);
      const [oldest, ...rest] = await history.staleMarkers(0, 10_000);
      expect(rest.length).toBeGreaterThan(0);
      expect(await history.staleMarkers(0, 1)).toHaveLength(1);
      const ids = [oldest, ...rest].map((found) => found?.marker);
      expect(ids.indexOf(marker)).toBeLessThan(ids.length - 1);
    });
  });
}
