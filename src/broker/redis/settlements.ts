import {
  fencingOfToken,
  leaseTokenIdAt,
  leaseTokenLength,
  leaseTokenProofAt,
} from "../../task/ids.js";
import type { Settlement } from "../broker.js";
import { Packer } from "./bytes.js";
import type { Argument } from "./connection.js";
import { inlineBytes } from "./record.js";
import { appendError, appendResult } from "./sections.js";
import type { Placed } from "./store.js";

type Item = Placed<Settlement>;
type Completion = Extract<Settlement, { kind: "complete" }>;

const secretAt = leaseTokenProofAt + 8;
/** Of a run: whether each of its tasks is at hand, as it was leased. */
const runCode = { known: 8, unknown: 9 } as const;

/**
 * How many of these, from one on, complete one behind another as they were leased together: their
 * fencing numbers follow one another, and only leases of one slice share a secret. At least 1.
 */
function runAt(chunk: readonly Item[], from: number): number {
  let end = from + 1;
  let last = chunk[from]!.item;
  if (!isShort(last)) return 1;
  for (; end < chunk.length; end += 1) {
    const { item } = chunk[end]!;
    if (!isShort(item) || !follows(item, last)) break;
    last = item;
  }
  return end - from;
}

const isShort = (item: Settlement): item is Completion =>
  item.kind === "complete" && (item.result?.data.length ?? 0) < inlineBytes / 2;

const follows = ({ token, sessionId }: Completion, before: Completion): boolean =>
  sessionId === before.sessionId &&
  token.length === leaseTokenLength &&
  shareSecret(token, before.token) &&
  fencingOfToken(token) === fencingOfToken(before.token) + 1;

function shareSecret(a: Uint8Array, b: Uint8Array): boolean {
  for (let n = secretAt; n < leaseTokenLength; n += 1) if (a[n] !== b[n]) return false;
  return true;
}

const packer = new Packer();

/**
 * As settle.lua reads them: few arguments, as each costs both sides more than its bytes. `runs`:
 * by turns the place and the number of those that went together.
 */
export function settleArguments(chunk: readonly Item[]): { args: Argument[]; runs: number[] } {
  const sessions: string[] = [];
  const runs: number[] = [];
  packer.reset();
  for (let nth = 0; nth < chunk.length;) {
    const count = runAt(chunk, nth);
    if (count === 1) packOne(chunk[nth]!.item, sessions);
    else {
      runs.push(nth, count);
      packRun(chunk.slice(nth, nth + count), sessions);
    }
    nth += count;
  }
  return { args: [packer.take(), String(sessions.length), ...sessions], runs };
}

function packOne(item: Settlement, sessions: string[]): void {
  packer.byte(kindCode(item));
  packer.raw(item.token, leaseTokenIdAt);
  packer.uint16(placeOf(sessions, item.sessionId));
  const start = packer.length;
  packer.uint32(0);
  if (item.kind === "complete") appendResult(packer, item.result);
  else if (item.kind === "fail") appendError(packer, item.error);
  packer.uint32At(start, packer.length - start - 4);
  packer.byte(item.kind === "lose" ? followings.indexOf(item.then) : 0);
  packer.double(Math.floor(delayOf(item)));
}

function packRun(run: readonly Item[], sessions: string[]): void {
  const first = run[0]!.item as Completion;
  const isKnown = run.every(({ item }) => (item as Completion).leased);
  packer.byte(isKnown ? runCode.known : runCode.unknown);
  packer.uint16(placeOf(sessions, first.sessionId));
  packer.uint16(run.length);
  packer.raw(first.token, leaseTokenProofAt);
  const start = packer.length;
  packer.uint32(0);
  if (run.some(({ item }) => (item as Completion).result)) {
    for (const { item } of run) packResultOf(item as Completion);
  }
  packer.uint32At(start, packer.length - start - 4);
  for (const { item } of run) {
    packer.part(item.token, leaseTokenIdAt, leaseTokenProofAt);
  }
}

function packResultOf({ result }: Completion): void {
  const start = packer.length;
  packer.uint32(0);
  appendResult(packer, result);
  packer.uint32At(start, packer.length - start - 4);
}

/** From 1; 0 for none. The last one is the most likely again. */
function placeOf(sessions: string[], sessionId: string | undefined): number {
  if (sessionId === undefined) return 0;
  const at = sessions.lastIndexOf(sessionId);
  return at >= 0 ? at + 1 : sessions.push(sessionId);
}

const followings = ["pending", "quarantine", "poison"] as const;

/** As settle.lua knows it, and history of an attempt that ended by it. */
export function kindCode(settlement: Settlement): number {
  switch (settlement.kind) {
    case "complete":
      return 1;
    case "fail":
      return settlement.cause === "timeout" ? 3 : 2;
    case "release":
      return 4;
    case "cancel":
      return 5;
    case "lose":
      return 6;
  }
}

/** -1: none. */
function delayOf(settlement: Settlement): number {
  if (settlement.kind === "fail") return settlement.retryInMs ?? -1;
  if (settlement.kind === "release") return settlement.unsent ? -1 : settlement.delayMs;
  if (settlement.kind === "lose") return settlement.delayMs;
  return -1;
}
