import { expect, it } from "vitest";
import type { Lease, Settlement, SettleReply, Transition } from "../../src/broker/broker.js";
import { systemClock } from "../../src/clock.js";
import type { Payload, Priority } from "../../src/task/task.js";
import { bytesKey } from "../../src/short-text.js";
import { failed, Kit, lost, quarantined, released, timedOut } from "../conformance/broker/kit.js";
import { makeRedisBroker } from "../support/redis-harness.js";
import { createSeededRandom } from "../support/seeded-random.js";
import { result } from "./bundle-kit.js";

/*
 * Calls as they are after a worker has redialed again and again: results twice and in any order,
 * beside failures, losses and returns of tasks that came in bulk. No call may break off, and what
 * it tells whoever asked must be what it told the outbox.
 */

const large: Payload = { contentType: "a/b", data: Buffer.alloc(3_000) };
const rounds = 20;
const placeOf = ({ outboxId, outboxPlace }: Transition): string => `${outboxId} ${outboxPlace}`;

class Life {
  readonly #kit: Kit;
  readonly #int: (below: number) => number;
  readonly #accepted = new Set<string>();
  #out: Lease[] = [];
  #over: Lease[] = [];

  constructor(kit: Kit, int: (below: number) => number) {
    this.#kit = kit;
    this.#int = int;
  }

  async submit(): Promise<void> {
    await this.#kit.submitMany(1 + this.#int(30), {
      type: this.#of(["a", "b"]),
      durability: this.#of(["relaxed", "durable"]),
      priority: this.#of<Priority>([1, 2]),
      groupKey: this.#of(["", "", "", "g"]),
    });
  }

  #of<T>(list: readonly T[]): T {
    return list[this.#int(list.length)]!;
  }

  hold(leases: readonly Lease[]): void {
    this.#out.push(...leases);
  }

  /** Of neighbours among what is leased and what has ended, some twice. */
  batch(): Settlement[] {
    const pool = [...this.#out, ...this.#over.slice(-40)];
    const batch: Settlement[] = [];
    for (const most = this.#int(60); batch.length < most;) {
      const from = this.#int(pool.length);
      for (const lease of pool.slice(from, from + 1 + this.#int(8))) {
        batch.push(this.#end(lease));
        if (this.#int(6) === 0) batch.push(this.#of(batch));
      }
    }
    return batch;
  }

  #end({ token, sessionId, task }: Lease): Settlement {
    const leased = this.#of([task, undefined]);
    const kind = this.#int(40);
    if (kind > 16) {
      const given = this.#of([undefined, undefined, result]);
      return { kind: "complete", token, sessionId, result: given, leased };
    }
    if (kind === 0) return { ...this.#of([lost, quarantined()]), token } as Settlement;
    const complete = { kind: "complete", result: large } as const;
    const ending = this.#of([failed(), failed(0), released(), timedOut(5_000), complete]);
    return { ...ending, token, sessionId } as Settlement;
  }

  async settled(batch: readonly Settlement[], replies: readonly SettleReply[]): Promise<void> {
    const told = new Map((await this.#kit.outbox()).map((one) => [placeOf(one), one.task.id]));
    const places = new Set<string>();
    for (const [nth, { verdict, transition }] of replies.entries()) {
      const key = bytesKey(batch[nth]!.token);
      if (verdict !== "accepted") continue;
      expect(this.#accepted.has(key)).toBe(false);
      this.#accepted.add(key);
      places.add(placeOf(transition!));
      expect(told.get(placeOf(transition!))).toBe(transition!.task.id);
    }
    expect(places.size).toBe(replies.filter(({ verdict }) => verdict === "accepted").length);
    for (const [nth, { verdict }] of replies.entries()) {
      if (verdict === "duplicate") expect(this.#accepted).toContain(bytesKey(batch[nth]!.token));
    }
    this.#over.push(...this.#out.filter(({ token }) => this.#accepted.has(bytesKey(token))));
    this.#out = this.#out.filter(({ token }) => !this.#accepted.has(bytesKey(token)));
  }

  /** Now and then somebody cancels, and history catches up with some of it. */
  async disturb(): Promise<void> {
    if (this.#int(3) === 0 && this.#out.length > 0)
      await this.#kit.cancel(this.#of(this.#out).task);
    if (this.#int(3) > 0) return;
    const told = await this.#kit.outbox();
    for (const one of told.slice(0, this.#int(80))) await this.#kit.recorded(one);
  }
}

it.each([1, 2, 3, 5, 8, 13, 21, 228])("calls that repeat themselves, life %i", async (seed) => {
  const random = createSeededRandom(seed);
  const int = (below: number): number => Math.floor(random.next() * below);
  const bounds = { bundleTasks: 2 + int(4) };
  const harness = await makeRedisBroker({ frozen: true, bounds });
  try {
    const kit = new Kit(harness, systemClock.now());
    await kit.openAll();
    const life = new Life(kit, int);
    const holders = [await kit.session(), await kit.session()];
    for (let round = 0; round < rounds; round += 1) {
      await life.submit();
      for (const holder of holders) life.hold(await kit.lease(holder, 1 + int(25)));
      const batch = life.batch();
      const request = kit.request(holders[0]!, 1 + int(10));
      const { replies, leased } = await kit.broker.settleAndLease(batch, request);
      await life.settled(batch, replies);
      life.hold(leased.leases);
      await life.disturb();
      expect(await harness.audit!()).toEqual([]);
    }
  } finally {
    await harness.stop();
  }
});
