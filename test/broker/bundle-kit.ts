import { expect } from "vitest";
import type { Lease, Settlement } from "../../src/broker/broker.js";
import { partitionKey } from "../../src/broker/redis/keys.js";
import { systemClock } from "../../src/clock.js";
import { formTaskId, slotOfQueue } from "../../src/task/ids.js";
import { Kit } from "../conformance/broker/kit.js";
import { makeRedisBroker, type RedisHarness } from "../support/redis-harness.js";

export const result = { contentType: "application/json", data: Buffer.from('{"sum":5}') };

/** The millisecond of the ids below. */
export const bundleMs = 1_700_000_000_000;
const slot = slotOfQueue("default", "default");

/** Of one millisecond, as bulks of tasks are, unless it is said otherwise. */
export function idOf(nth: number, atMs = bundleMs): string {
  const bytes = Buffer.alloc(8, 7);
  bytes.writeUInt16BE(nth, 1);
  return formTaskId(atMs, slot, bytes);
}

/** On a Redis whose time stands still; what is there afterwards must not contradict itself. */
export async function withKit(
  run: (kit: Kit, harness: RedisHarness) => Promise<void>,
): Promise<void> {
  const harness = await makeRedisBroker({ frozen: true });
  try {
    const kit = new Kit(harness, systemClock.now());
    await kit.openAll();
    await run(kit, harness);
    await kit.assertCounts();
    expect(await harness.audit!()).toEqual([]);
  } finally {
    await harness.stop();
  }
}

export const keysOf = async ({ redis, prefix }: RedisHarness, kind: string): Promise<number> =>
  (await redis.keysBuffer(`${partitionKey(prefix, 0)}${kind}:*`)).length;

export const completions = (leases: readonly Lease[], withResult = false): Settlement[] =>
  leases.map(({ token, sessionId }) => ({
    kind: "complete",
    token,
    sessionId,
    result: withResult ? result : undefined,
  }));
