import { uuidText } from "../../task/uuid.js";
import { partitionKey } from "./keys.js";
import type { Connection } from "./connection.js";
import { statusOfCode } from "./record.js";
import { asBytes, asList, asNumber, asText, type Reply, type Scripts } from "./scripts.js";

/** What an audit works with; a broker's store is one. */
export interface AuditParts {
  readonly prefix: string;
  readonly connection: Pick<Connection, "send">;
  readonly scripts: Scripts;
}

export interface AuditOptions {
  /** Keys and members to look at before it stops. Default: all there are. */
  readonly most?: number;
  /** Stops between two slices, as `most` does. */
  readonly signal?: AbortSignal;
}

export interface Audit {
  /** What contradicts itself, in words; at most 1,000. */
  readonly findings: string[];
  /** Keys and members that were looked at. */
  readonly seen: number;
  /** False: it stopped before it had seen all. */
  readonly complete: boolean;
}

const findingsMax = 1_000;
const scanCount = 500;
/** One script looks at this many tasks, some six commands each: well below a millisecond. */
const slice = 100;

/** Keys that stand for themselves: fixed names, and those that expire. */
const plain = new Set(
  "m x k F ne lid ln qid qn nq sl lv mk ob oc oe co wt skew frozen d dl cd ex t bt".split(" "),
);
const owned = new Set(["p", "r", "h", "b", "i", "s", "sh", "z", "v", "L", "W", "c", "ll"]);
/** Sorted sets that hold tasks. */
const holders = new Set(["d", "cd", "ex", "W", "sh"]);

/**
 * Walks the keys of these partitions by SCAN: each task must stand where its record says and
 * nowhere else, every key must belong to something. Each slice is judged in one step of the store,
 * so that a finding is one also while coordinators work, and no step takes long.
 */
export async function auditKeys(
  parts: AuditParts,
  partitions: readonly number[],
  options: AuditOptions = {},
): Promise<Audit> {
  const { most = Number.POSITIVE_INFINITY, signal } = options;
  const [only] = partitions;
  const match =
    partitions.length === 1 ? `${partitionKey(parts.prefix, only!)}*` : `{${parts.prefix}:*}:*`;
  const findings = new Set<string>();
  let seen = 0;
  const walk: Walk = {
    ...parts,
    report: (finding) => {
      if (findings.size < findingsMax) findings.add(finding);
    },
    /** False once enough was seen. */
    goOn: (count) => {
      seen += count;
      return seen <= most && signal?.aborted !== true;
    },
  };
  let complete = true;
  for (let cursor = "0"; ;) {
    const args = [cursor, "MATCH", match, "COUNT", String(scanCount)];
    const [next, keys] = asList(await parts.connection.send("SCAN", args));
    cursor = asText(next);
    const found = byPartition(asList(keys).map(asBytes), new Set(partitions));
    for (const [partition, names] of found) {
      complete = (await auditNames(walk, partition, names)) && complete;
    }
    if (cursor === "0" || !complete) break;
  }
  return { findings: [...findings], seen, complete };
}

interface Walk extends AuditParts {
  report(finding: string): void;
  goOn(count: number): boolean;
}

/** Names without the start that all keys of the partition share. */
function byPartition(keys: readonly Buffer[], wanted: ReadonlySet<number>): Map<number, Buffer[]> {
  const found = new Map<number, Buffer[]>();
  for (const key of keys) {
    const end = key.indexOf("}:") + 2;
    const partition = Number(/:(\d+)\}:$/.exec(key.toString("latin1", 0, end))?.[1]);
    if (!wanted.has(partition)) continue;
    const names = found.get(partition);
    if (names) names.push(key.subarray(end));
    else found.set(partition, [key.subarray(end)]);
  }
  return found;
}

const kindOf = (name: Buffer): string => {
  const colon = name.indexOf(":");
  return name.toString("latin1", 0, colon < 0 ? name.length : colon);
};

async function auditNames(walk: Walk, partition: number, names: Buffer[]): Promise<boolean> {
  const at = `partition ${partition}`;
  const kinds = names.map(kindOf);
  for (const [i, name] of names.entries()) {
    const known = plain.has(kinds[i]!) || owned.has(kinds[i]!);
    if (!known) walk.report(`${at}: key ${shown(name)} is none of Drover's`);
  }
  await auditTasks(
    walk,
    partition,
    names.filter((_, i) => kinds[i] === "t").map((name) => name.subarray(2)),
  );
  const candidates = names.filter((_, i) => owned.has(kinds[i]!));
  for (const orphan of await judge(walk, partition, ["keys"], candidates)) {
    walk.report(`${at}: key ${shown(asBytes(orphan))} belongs to nothing`);
  }
  let goOn = walk.goOn(names.length);
  for (const [i, name] of names.entries()) {
    if (!goOn) return false;
    if (holders.has(kinds[i]!)) goOn = await auditMembers(walk, partition, name);
    if (kinds[i] === "bt") goOn = await auditTimes(walk, partition, name);
    if (kinds[i] === "L") goOn = await auditReferences(walk, partition, name);
  }
  return goOn;
}

async function auditTasks(walk: Walk, partition: number, ids: readonly Buffer[]): Promise<void> {
  for (const row of await judge(walk, partition, ["tasks"], ids)) {
    const [id, status, expected, found] = asList(row);
    const name = statusOfCode(asNumber(status));
    walk.report(
      `partition ${partition}: task ${uuidText(asBytes(id))} is ${name}: ` +
        `expected [${asText(expected)}], found [${asText(found)}]`,
    );
  }
}

function auditMembers(walk: Walk, partition: number, name: Buffer): Promise<boolean> {
  return eachSlice(walk, partition, name, "ZSCAN", async (ids) => {
    for (const ghost of await judge(walk, partition, ["members", name], ids)) {
      const member = asBytes(ghost);
      const what = member.length < 16 ? "a bundle" : `task ${uuidText(member)}`;
      walk.report(`partition ${partition}: ${what} does not belong in ${shown(name)}`);
    }
  });
}

function auditReferences(walk: Walk, partition: number, name: Buffer): Promise<boolean> {
  const lane = name.subarray(2);
  return eachSlice(walk, partition, name, "ZSCAN", async (references) => {
    for (const empty of await judge(walk, partition, ["references", lane], references)) {
      const flow = `${lane.toString()}:${shown(asBytes(empty))}`;
      walk.report(`partition ${partition}: flow ${flow} is referred to, but holds no task`);
    }
  });
}

function auditTimes(walk: Walk, partition: number, name: Buffer): Promise<boolean> {
  return eachSlice(walk, partition, name, "HSCAN", async (times) => {
    for (const time of await judge(walk, partition, ["times"], times)) {
      const at = asBytes(time).toString("hex");
      walk.report(`partition ${partition}: time ${at} names a bundle that is none of it`);
    }
  });
}

/** Members of a sorted set, or fields of a hash, some at a time. */
async function eachSlice(
  walk: Walk,
  partition: number,
  name: Buffer,
  scan: "ZSCAN" | "HSCAN",
  judgeThem: (members: Buffer[]) => Promise<void>,
): Promise<boolean> {
  const key = Buffer.concat([Buffer.from(partitionKey(walk.prefix, partition)), name]);
  for (let cursor = "0"; ;) {
    const args = [key, cursor, "COUNT", String(scanCount)];
    const [next, flat] = asList(await walk.connection.send(scan, args));
    const members = asList(flat)
      .filter((_, i) => i % 2 === 0)
      .map(asBytes);
    await judgeThem(members);
    cursor = asText(next);
    if (!walk.goOn(members.length)) return false;
    if (cursor === "0") return true;
  }
}

async function judge(
  walk: Walk,
  partition: number,
  what: readonly (string | Buffer)[],
  items: readonly Buffer[],
): Promise<readonly Reply[]> {
  const base = partitionKey(walk.prefix, partition);
  const found: Reply[] = [];
  for (let from = 0; from < items.length; from += slice) {
    const args = [...what, ...items.slice(from, from + slice)];
    found.push(...asList(await walk.scripts.run("audit", base, args)));
  }
  return found;
}

/** Ids in keys are raw bytes. */
function shown(name: Buffer): string {
  const colon = name.indexOf(":");
  const isId = name.length === colon + 17 && /^[tpr]$/.test(kindOf(name));
  if (isId) return name.toString("latin1", 0, colon + 1) + uuidText(name.subarray(colon + 1));
  return JSON.stringify(name.toString());
}
