import { create } from "@bufbuild/protobuf";
import { type Heartbeat, type HeartbeatAck, HeartbeatSchema } from "../../gen/drover/v1/task_pb.js";
import type { Clock, Random, Timer } from "../clock.js";
import { limits } from "../limits.js";
import { toDuration } from "../transport/times.js";
import type { Vitals } from "./vitals.js";

export interface HeartbeatEvents {
  /** Sends a heartbeat now; false if the stream takes nothing at present. */
  send(heartbeat: Heartbeat): boolean;
  inventory(): Uint8Array[];
  /** The peer answers no more: another stream is needed. */
  onSilence(reason: string): void;
  /** The peer answers, but could not renew the session. */
  onRefused(): void;
  /** No renewal for too long: whatever runs may have been given to somebody else. */
  onLapse(): void;
  /** After a lapse: the session is renewed, leases may come again. */
  onRenewed(): void;
}

export interface HeartbeatOptions {
  clock: Clock;
  random: Random;
  vitals: Vitals;
  events: HeartbeatEvents;
}

const slowWelcomeMs = 1_000;
const abortShare = limits.workerAbortMs / limits.sessionLeaseMs;

/** Keeps the session alive, and knows on its own clock until when its leases are surely ours. */
export class HeartbeatKeeper {
  readonly #options: HeartbeatOptions;
  readonly #unanswered = new Map<number, number>();
  #beatTimer: Timer | undefined;
  #lapsed = false;
  #refused: { readonly number: number; readonly sentAt: number } | undefined;
  #answerTimer: Timer | undefined;
  #lapseTimer: Timer | undefined;
  #intervalMs: number = limits.heartbeatMs;
  #abortMs: number = limits.workerAbortMs;
  #number = 0;
  #lastFrameAt = 0;
  #renewedAt = -Infinity;

  constructor(options: HeartbeatOptions) {
    this.#options = options;
  }

  /** A stream stands; its hello counts as a renewal. Zeros mean Drover's defaults. */
  begin(helloSentAt: number, intervalMs: number, leaseMs: number): void {
    this.pause();
    if (intervalMs > 0) this.#intervalMs = intervalMs;
    if (leaseMs > 0) this.#abortMs = leaseMs * abortShare;
    this.#number = 0;
    this.onFrame();
    this.#renew(helloSentAt);
    // After a slow welcome the deadline may be nearer than the next beat.
    if (this.#options.clock.monotonic() - helloSentAt > slowWelcomeMs) this.#beat();
    else this.#scheduleBeat();
  }

  /** No stream: beats stop, the deadline runs on. */
  pause(): void {
    this.#beatTimer?.cancel();
    this.#answerTimer?.cancel();
    this.#answerTimer = undefined;
    this.#unanswered.clear();
    this.#refused = undefined;
  }

  onFrame(): void {
    this.#lastFrameAt = this.#options.clock.monotonic();
  }

  onAck(ack: HeartbeatAck): void {
    const number = Number(ack.number);
    const sentAt = this.#unanswered.get(number) ?? this.#refusedAt(number);
    if (sentAt === undefined) return;
    this.#refused = ack.renewed ? undefined : { number, sentAt };
    for (const sent of this.#unanswered.keys()) {
      if (sent <= number) this.#unanswered.delete(sent);
    }
    if (this.#unanswered.size === 0) {
      this.#answerTimer?.cancel();
      this.#answerTimer = undefined;
    }
    if (ack.renewed) this.#renew(sentAt);
    else this.#options.events.onRefused();
  }

  /** One that was answered with no may be answered again, once the store is back. */
  #refusedAt(number: number): number | undefined {
    return this.#refused?.number === number ? this.#refused.sentAt : undefined;
  }

  stop(): void {
    this.pause();
    this.#lapseTimer?.cancel();
    this.#options.vitals.stop();
  }

  #scheduleBeat(): void {
    const { clock, random } = this.#options;
    const spread = 1 + limits.heartbeatJitter * (2 * random.next() - 1);
    this.#beatTimer?.cancel();
    this.#beatTimer = clock.after(this.#intervalMs * spread, () => this.#beat());
  }

  #beat(): void {
    const { clock, events, vitals } = this.#options;
    this.#scheduleBeat();
    if (clock.monotonic() - this.#lastFrameAt > 2 * this.#intervalMs) {
      events.onSilence(`no frame for ${2 * this.#intervalMs} ms`);
    }
    const { cpu, eventLoopDelayMs } = vitals.read();
    const heartbeat = create(HeartbeatSchema, {
      number: BigInt(this.#number + 1),
      heldLeaseTokens: events.inventory(),
      cpu,
      eventLoopDelay: toDuration(eventLoopDelayMs),
    });
    if (events.send(heartbeat)) {
      this.#number += 1;
      this.#unanswered.set(this.#number, clock.monotonic());
    }
    // A stream that takes no writes is watched like one that gives no answers.
    this.#answerTimer ??= clock.after(limits.heartbeatAnswerMs, () => {
      this.#answerTimer = undefined;
      events.onSilence(`a heartbeat is unanswered for ${limits.heartbeatAnswerMs} ms`);
    });
  }

  /** Counts from when it was sent: the store cannot have renewed it earlier than that. */
  #renew(sentAt: number): void {
    if (sentAt <= this.#renewedAt) return;
    const { clock, events } = this.#options;
    this.#renewedAt = sentAt;
    this.#lapseTimer?.cancel();
    const leftMs = Math.max(0, sentAt + this.#abortMs - clock.monotonic());
    this.#lapseTimer = clock.after(leftMs, () => {
      this.#lapsed = true;
      events.onLapse();
    });
    if (!this.#lapsed) return;
    this.#lapsed = false;
    events.onRenewed();
  }
}
