import type { Redis } from "ioredis";
import { partitionKey } from "../../src/broker/redis/keys.js";
import { unpackTask } from "../../src/broker/redis/record.js";
import { uuidText } from "../../src/task/ids.js";
import { isFinal, type Task } from "../../src/task/task.js";

/**
 * Walks the raw keys of a partition: each record must stand where its status says, and nowhere
 * else.
 */
export async function auditPartition(
  redis: Redis,
  prefix: string,
  partition: number,
): Promise<string[]> {
  const keys = await keysOf(redis, partitionKey(prefix, partition));
  const stands = new Map<string, string[]>();
  const put = (id: Buffer, place: string) => {
    const text = uuidText(id);
    stands.set(text, [...(stands.get(text) ?? []), place]);
  };
  for (const id of await redis.zrangeBuffer(keys.named("d"), "0", "-1")) put(id, "delayed");
  for (const id of await redis.zrangeBuffer(keys.named("dl"), "0", "-1")) put(id, "running");
  for (const flow of keys.under("W:")) {
    for (const id of await redis.zrangeBuffer(flow.key, "0", "-1")) put(id, "pending");
  }
  const tasks = await readTasks(redis, keys);
  return [
    ...misplaced(tasks, stands),
    ...(await wrongReferences(redis, keys)),
    ...(await wrongHolds(redis, keys, tasks)),
    ...(await wrongLanes(redis, keys)),
  ];
}

interface Keys {
  named(name: string): string;
  under(start: string): { key: Buffer; rest: Buffer }[];
}

async function keysOf(redis: Redis, base: string): Promise<Keys> {
  const all: Buffer[] = [];
  for await (const found of redis.scanBufferStream({ match: `${base}*`, count: 1_000 })) {
    all.push(...(found as Buffer[]));
  }
  const unique = [...new Map(all.map((key) => [key.toString("latin1"), key])).values()];
  return {
    named: (name) => base + name,
    under: (start) =>
      unique
        .filter((key) => key.subarray(0, base.length + start.length).toString() === base + start)
        .map((key) => ({ key, rest: key.subarray(base.length + start.length) })),
  };
}

async function readTasks(redis: Redis, keys: Keys): Promise<Map<string, Task>> {
  const tasks = new Map<string, Task>();
  for (const { key, rest } of keys.under("t:")) {
    const id = uuidText(rest);
    tasks.set(id, unpackTask(id, (await redis.getBuffer(key))!));
  }
  return tasks;
}

function misplaced(tasks: Map<string, Task>, stands: Map<string, string[]>): string[] {
  const wrong: string[] = [];
  for (const [id, places] of stands) {
    if (!tasks.has(id)) wrong.push(`${id}: a ghost among the ${places.join(", ")}`);
  }
  for (const [id, { status }] of tasks) {
    const delayed = status === "scheduled" || status === "retrying";
    const expected = isFinal(status) ? [] : [delayed ? "delayed" : status];
    const places = stands.get(id) ?? [];
    if (places.join() !== expected.join())
      wrong.push(`${id} is ${status}: stands in [${places.join()}]`);
  }
  return wrong;
}

/** A flow exists exactly while its lane refers to it. */
async function wrongReferences(redis: Redis, keys: Keys): Promise<string[]> {
  const flows = new Set(keys.under("W:").map(({ rest }) => rest.toString()));
  const referred = new Set<string>();
  for (const { key, rest } of keys.under("L:")) {
    for (const ref of await redis.zrange(key, "0", "-1")) referred.add(`${rest.toString()}:${ref}`);
  }
  const lost = [...flows].filter((flow) => !referred.has(flow));
  const empty = [...referred].filter((flow) => !flows.has(flow));
  return [
    ...lost.map((flow) => `flow ${flow}: no reference`),
    ...empty.map((flow) => `flow ${flow}: a reference to nothing`),
  ];
}

/** Sessions hold what runs for them, and nothing else. */
async function wrongHolds(redis: Redis, keys: Keys, tasks: Map<string, Task>): Promise<string[]> {
  const holders = new Map<string, string>();
  for (const { key, rest } of keys.under("sh:")) {
    for (const id of await redis.smembersBuffer(key)) holders.set(uuidText(id), rest.toString());
  }
  const wrong: string[] = [];
  for (const [id, { status, sessionId }] of tasks) {
    const expected = status === "running" ? sessionId : undefined;
    if (holders.get(id) !== expected) wrong.push(`${id} is ${status}: held by ${holders.get(id)}`);
  }
  return wrong;
}

/** Lanes with work are listed as such. */
async function wrongLanes(redis: Redis, keys: Keys): Promise<string[]> {
  const listed = new Set(await redis.smembers(keys.named("ne")));
  return keys
    .under("L:")
    .map(({ rest }) => rest.toString())
    .filter((lane) => !listed.has(lane))
    .map((lane) => `lane ${lane}: has work, is not listed`);
}
