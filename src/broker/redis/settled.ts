import { attemptOf } from "../../task/attempt.js";
import { leaseTokenIdAt } from "../../task/ids.js";
import type { SettleReply, Settlement, Transition } from "../broker.js";
import { PackedStrings, type Stretch, stringsOf } from "./bytes.js";
import { completed, completedTask } from "./completed.js";
import { payloadsByPlace } from "./lease.js";
import { asBytes, asList, asNumber, asText, type Reply } from "./scripts.js";
import { kindCode } from "./settlements.js";
import type { Placed } from "./store.js";
import { isBefore, isFromBundle, isOfRun, partsTold, type ToldPart } from "./told.js";
import { transitionOf } from "./transition.js";

/** What one call settled. */
export interface Settled {
  readonly partition: number;
  readonly chunk: readonly Placed<Settlement>[];
  /** By turns the place and the number of those that went together. */
  readonly runs: readonly number[];
}

const codes = { accepted: 97, recorded: 114, stale: 115 } as const;

export const stale: SettleReply = Object.freeze({
  verdict: "stale",
  transition: undefined,
  recorded: false,
});

const duplicate = (recorded: boolean): SettleReply => ({
  verdict: "duplicate",
  transition: undefined,
  recorded,
});

/** What settle.lua answers, into the places of the settlements. */
export function readSettled(
  settled: Settled,
  reply: readonly Reply[],
  replies: SettleReply[],
): void {
  const { chunk, runs } = settled;
  const verdicts = asBytes(reply[2]);
  const reader = new ToldReader(settled, reply);
  // Those that went together are told first. What comes twice was accepted in one place alone.
  for (let i = 0; i < runs.length; i += 2) {
    const from = runs[i]!;
    if (verdicts[from] === codes.accepted) reader.takeRun(from, runs[i + 1]!, replies);
  }
  for (let nth = 0; nth < chunk.length; nth += 1) {
    const { index } = chunk[nth]!;
    const verdict = verdicts[nth]!;
    if (verdict === codes.stale) replies[index] = stale;
    else if (verdict !== codes.accepted) replies[index] = duplicate(verdict === codes.recorded);
    else if (replies[index] === stale) reader.takeOne(nth, replies);
  }
}

/** Goes through what the outbox was told, in its order. */
class ToldReader {
  readonly #settled: Settled;
  readonly #entry: string;
  readonly #at: number;
  readonly #told: Buffer;
  readonly #payloads: ReadonlyMap<number, Buffer>;
  readonly #accepted: number;
  /** By turns the ids and the bodies of those told as one. */
  readonly #beside: readonly Reply[];
  /** At what stands behind the one that `#about` is the start of. */
  readonly #strings: PackedStrings;
  #about = 0;
  #parts: readonly ToldPart[] | undefined;
  #place = 0;

  constructor(settled: Settled, [entry, time, verdicts, packed, aparts, beside]: readonly Reply[]) {
    this.#settled = settled;
    this.#entry = asText(entry);
    this.#at = asNumber(time);
    this.#told = asBytes(packed);
    this.#payloads = payloadsByPlace(asList(aparts));
    this.#beside = asList(beside);
    this.#accepted = asBytes(verdicts).reduce(
      (n, code) => n + (code === codes.accepted ? 1 : 0),
      0,
    );
    this.#strings = new PackedStrings(this.#told);
    this.#step();
  }

  #step(): void {
    if (this.#place >= this.#accepted) return;
    this.#strings.step();
    this.#about = this.#strings.from;
    this.#strings.step();
  }

  get #outcome(): number {
    return this.#told[this.#about]!;
  }

  /** Not if they were settled one by one. */
  takeRun(from: number, count: number, replies: SettleReply[]): void {
    const { chunk } = this.#settled;
    const { token } = chunk[from]!.item;
    if (this.#place >= this.#accepted || !isOfRun(this.#outcome)) return;
    if (!isId(this.#strings, token)) return;
    for (let nth = from; nth < from + count; nth += 1) this.#take(chunk[nth]!, replies);
    this.#step();
  }

  takeOne(nth: number, replies: SettleReply[]): void {
    this.#take(this.#settled.chunk[nth]!, replies);
    this.#step();
  }

  #take({ item, index }: Placed<Settlement>, replies: SettleReply[]): void {
    const transition = this.#completion(item) ?? this.#readPart(item);
    replies[index] = { verdict: "accepted", transition, recorded: false };
    this.#place += 1;
  }

  /** Nearly all: it was leased here, and all that happened to it since is that it completed. */
  #completion(item: Settlement): Transition | undefined {
    if (item.kind !== "complete" || !item.leased) return undefined;
    const { leased, result } = item;
    const before = isBefore(this.#outcome) ? this.#at : undefined;
    // In a bundle nothing else can have happened to it.
    const task = isFromBundle(this.#outcome)
      ? completed(leased, result, this.#at)
      : completedTask(leased, this.#strings, result, before);
    if (!task) return undefined;
    return {
      partition: this.#settled.partition,
      outboxId: this.#entry,
      outboxPlace: this.#place,
      task,
      payloadOmitted: this.#told[this.#about + 1] === 1,
      attempt: attemptOf(task, this.#at, "completed", undefined),
    };
  }

  #readPart(item: Settlement): Transition {
    this.#parts ??= partsTold(
      stringsOf(this.#told),
      this.#accepted,
      this.#at,
      this.#beside.map(asBytes),
    );
    const { id, payloadOmitted, snapshot } = this.#parts[this.#place]!;
    return transitionOf({
      partition: this.#settled.partition,
      id,
      outboxId: this.#entry,
      outboxPlace: this.#place,
      at: this.#at,
      outcome: kindCode(item),
      payloadOmitted,
      snapshot,
      payload: this.#payloads.get(this.#place),
      result: item.kind === "complete" ? item.result : undefined,
    });
  }
}

/** Whether what stands there is the id of the task that this lease token is of. */
function isId({ packed, from }: Stretch, token: Uint8Array): boolean {
  for (let n = 0; n < 16; n += 1) if (packed[from + n] !== token[leaseTokenIdAt + n]) return false;
  return true;
}
