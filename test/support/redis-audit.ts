import type { Redis } from "ioredis";
import { auditKeys, type AuditParts } from "../../src/broker/redis/audit.js";
import { auditCounts } from "../../src/broker/redis/audit-counts.js";
import { type Argument, transmit } from "../../src/broker/redis/connection.js";
import { createScripts } from "../../src/broker/redis/scripts.js";
import { systemClock } from "../../src/clock.js";
import { limits } from "../../src/limits.js";

/** An audit names no store id. */
const asBytes = (arg: Argument): string | Buffer =>
  typeof arg === "string" ? arg : Buffer.from(arg as Uint8Array);

const known = new WeakMap<Redis, AuditParts["scripts"]>();

/** What an audit works with, over a connection of a test's own. */
export function auditParts(redis: Redis, prefix: string): AuditParts {
  const connection = {
    available: true,
    storeId: "",
    inCluster: false,
    lastError: undefined,
    start: () => Promise.resolve(),
    stop: () => Promise.resolve(),
    send: (name: string, args: readonly Argument[]) =>
      transmit(redis, systemClock, name, args.map(asBytes)),
    onReady: () => undefined,
    dedicated: () => redis,
  };
  let scripts = known.get(redis);
  if (!scripts) {
    const { outboxEntries, outboxBytes, lanesPerQueue, bundleTasks } = limits;
    const bounds = { outboxEntries, outboxBytes, lanesPerQueue, bundleTasks };
    scripts = createScripts(connection, { bounds, sweepGuardMs: 0, testSkew: false });
    known.set(redis, scripts);
  }
  return { prefix, connection, scripts };
}

/** All that contradicts itself in a partition: its keys, and its counts. */
export async function auditPartition(
  redis: Redis,
  prefix: string,
  partition: number,
): Promise<string[]> {
  const parts = auditParts(redis, prefix);
  const [keys, counts] = await Promise.all([
    auditKeys(parts, [partition]),
    auditCounts(parts, partition),
  ]);
  return [...keys.findings, ...counts.findings];
}
