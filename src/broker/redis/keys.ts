import { DroverError } from "../../errors.js";
import type { Lane } from "../broker.js";

/*
 * Every key of a partition starts with `{prefix:p}:`, one hash tag, so that its scripts touch one
 * slot of a Redis Cluster. The scripts form the rest (id: 16 raw bytes; lane, queue: small numbers
 * given out by the partition):
 *
 *   m               hash   store, epoch, fencing counter, size of the outbox, sweep times,
 *                          last numbers
 *   t:id            string packed record (record.ts, lua/parts/record.lua) of a task that stands
 *                          alone
 *   b:name          hash   tasks that stand together (lua/parts/bundle.lua): what they have in
 *                          common, where the body of each starts, what is leased of them
 *   i:name          string these tasks, as they came
 *   bt              hash   time that ids carry -> bundles with tasks of it
 *                          (lua/parts/directory.lua)
 *   p:id  r:id      string payload, result too large for the record;  h:id  checkpoint
 *   x:number        hash   tombstones planted in one stretch of 5 minutes (lua/parts/tomb.lua); of
 *                          tasks that left no record they name the entry of the outbox that tells
 *                          of the end
 *   k:name          string holder of an idempotency key
 *   L:lane          zset   references to the lane's flows
 *   W:lane:flow     zset   ready tasks of a flow;  F:lane:flow  its finish tag
 *   v:lane          hash   clocks of the lane, and how many of its tasks live
 *   ne              set    lanes with work
 *   lid ln          hash   lane name -> number:queue and back
 *   ll:queue        hash   lanes of the queue
 *   qid qn          hash   queue name -> number and back
 *   c:queue         hash   counts by priority:status; paused, grants served
 *   nq:namespace    set    its queues
 *   d cd            zset   delayed tasks; ends of cancel graces
 *   dl              zset   sessions by when the first of their attempts may have to end
 *   sl lv           zset, set   session leases; sessions that said goodbye
 *   s:session       hash   generation, info, worker
 *   sh:session      zset   leases it holds, by the ends of their attempts
 *   z:session       hash   its quarantined task by lane
 *   mk:lane name    zset   wake-up marker
 *   ob              stream outbox, an entry for all that one script told
 *   oc              hash   entries that tell of several -> which of them history holds
 *   oe              hash   entries that tell of ends which left no record -> where these tombstones
 *                          stand
 *   co              hash   coordinators (partition 0)
 *   wt              zset   watched tasks, until when
 *   skew            string added to the store's time, in tests only
 *   frozen          string in its place, in tests only
 */

/** What all keys of a partition start with. */
export const partitionKey = (prefix: string, partition: number): string =>
  `{${prefix}:${partition}}:`;

/** Channel of lossy news, shared by all partitions. */
export const hintChannel = (prefix: string): string => `${prefix}:hints`;

export const recordKey = (base: string, id: Uint8Array): Buffer => withId(`${base}t:`, id);
export const payloadKey = (base: string, id: Uint8Array): Buffer => withId(`${base}p:`, id);
export const resultKey = (base: string, id: Uint8Array): Buffer => withId(`${base}r:`, id);
export const checkpointKey = (base: string, id: Uint8Array): Buffer => withId(`${base}h:`, id);
export const outboxKey = (base: string): string => `${base}ob`;
/**
 * How an outbox entry holds what it tells: transitions, those of them that all are ends of RELAXED
 * tasks which left no record, or new tasks as they came.
 */
export type EntryKind = "m" | "e" | "p";

/**
 * The name of an entry, as `write_outbox` and `tell_as_came` in lua/parts/book.lua make it: id,
 * transitions, bytes.
 */
export function nameOfEntry(id: string, total: number, bytes: number, kind: EntryKind): string {
  const number = Number(id.slice(id.indexOf("-") + 1));
  const tells = kind === "e" || (kind === "p" && total > 1 && total <= 256 && number <= 31);
  return `${id}/${total}/${bytes}${tells ? `/${kind}` : ""}`;
}

/**
 * Whether the records of the tasks that came with this entry say where it tells of them, so that
 * they need not learn that history holds it.
 */
export const tellsBirths = (entry: string): boolean => entry.endsWith("/p");

/** Whether its tasks left no record that has to learn that history holds their ends. */
export const tellsEnds = (entry: string): boolean => entry.endsWith("/e");

/** The parts of its name that scripts take: id, transitions, bytes. */
export const partsOfEntry = (entry: string): string[] => entry.split("/", 3);

/** Which parts of its entries history holds already. */
export const partlyKey = (base: string): string => `${base}oc`;
export const markerKey = (base: string, laneText: string): string => `${base}mk:${laneText}`;

const withId = (start: string, id: Uint8Array): Buffer => Buffer.concat([Buffer.from(start), id]);

/** A prefix must not contain braces: they would move the hash tag. */
export function checkPrefix(prefix: string): string {
  if (/^[A-Za-z0-9._:-]{1,64}$/.test(prefix)) return prefix;
  throw new DroverError(
    "config_invalid",
    `the Redis key prefix must be 1 to 64 of A-Z a-z 0-9 . _ : -, not ${JSON.stringify(prefix)}`,
  );
}

const part = (text: string): string => `${text.length}:${text}`;

/**
 * How the names of a namespace's queues and lanes start; never the start of another namespace's.
 */
export const namespaceText = (namespace: string): string => part(namespace);

/**
 * One name per (namespace, queue): each part has its length before it, so no text can imitate
 * another.
 */
export const queueText = (namespace: string, queue: string): string =>
  part(namespace) + part(queue);

/** One name per lane, whatever the order of its labels. */
export function laneText(lane: Lane): string {
  let text = queueText(lane.namespace, lane.queue) + part(lane.type);
  const labels = Object.keys(lane.requiredLabels);
  if (labels.length > 1) labels.sort();
  for (const label of labels) text += part(label) + part(lane.requiredLabels[label]!);
  return text;
}

function partsOf(text: string): string[] {
  const parts: string[] = [];
  for (let at = 0; at < text.length;) {
    const colon = text.indexOf(":", at);
    const end = colon + 1 + Number(text.slice(at, colon));
    parts.push(text.slice(colon + 1, end));
    at = end;
  }
  return parts;
}

/** The lane of a name made by `laneText`. */
export function laneOfText(text: string): Lane {
  const [namespace = "", queue = "", type = "", ...labels] = partsOf(text);
  const pairs: [string, string][] = [];
  for (let i = 0; i + 1 < labels.length; i += 2) pairs.push([labels[i]!, labels[i + 1]!]);
  // Unlike assignment, this keeps a key such as __proto__ a plain key.
  return { namespace, queue, type, requiredLabels: Object.fromEntries(pairs) };
}

export function queueOfText(text: string): { namespace: string; queue: string } {
  const [namespace = "", queue = ""] = partsOf(text);
  return { namespace, queue };
}
