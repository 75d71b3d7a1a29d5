import { type SubmitOutcome, TaskService } from "../../gen/drover/v1/task_pb.js";
import type { Clock, Timer } from "../clock.js";
import { Code } from "../errors.js";
import { type Duplex, openDuplex } from "../transport/duplex.js";
import { rawCodec } from "../transport/methods.js";
import { type Refusal, refusal } from "../transport/status.js";
import type { Channel } from "../transport/channel.js";
import { streamFrame, type Submission } from "./submissions.js";

export interface SubmitLinkEvents {
  readonly onOutcomes: (outcomes: readonly (readonly [Submission, SubmitOutcome])[]) => void;
  readonly onWritable: () => void;
  /** The stream is over; these were sent on it and have no answer. Undefined: it ended in order. */
  readonly onClose: (unanswered: Submission[], refusal: Refusal | undefined) => void;
}

/** A peer that answers nothing at all for this long is given up, though its pings come back. */
const silenceMs = 30_000;
/** A stream nobody uses is half-closed, so that an idle producer may exit. */
const idleMs = 10_000;

const codec = rawCodec(TaskService.method.submitStream);

/** One SubmitStream: numbers what is sent on it, and matches the answers. */
export class SubmitLink {
  readonly channel: Channel;
  readonly #clock: Clock;
  readonly #events: SubmitLinkEvents;
  readonly #duplex: Duplex<Uint8Array>;
  readonly #unanswered = new Map<number, Submission>();
  #next = 1;
  #timer: Timer | undefined;
  #silent = false;

  constructor(channel: Channel, clock: Clock, events: SubmitLinkEvents) {
    this.channel = channel;
    this.#clock = clock;
    this.#events = events;
    this.#duplex = openDuplex(channel, codec, {
      onAnswer: ({ outcomes }) => {
        const matched: (readonly [Submission, SubmitOutcome])[] = [];
        for (const { number, outcome } of outcomes) {
          const submission = this.#unanswered.get(number);
          if (!submission || !outcome) continue;
          this.#unanswered.delete(number);
          matched.push([submission, outcome]);
        }
        this.#watch();
        events.onOutcomes(matched);
      },
      onWritable: events.onWritable,
      onClose: (why) => this.#closed(why),
    });
    this.#watch();
  }

  get writable(): boolean {
    return this.#duplex.writable;
  }

  send(submissions: readonly Submission[]): void {
    const first = this.#next;
    // Numbers are 32 bits wide; on from 1 long before they end.
    this.#next = first > 2 ** 31 ? 1 : first + submissions.length;
    for (const [index, submission] of submissions.entries()) {
      submission.sends += 1;
      this.#unanswered.set(first + index, submission);
    }
    if (this.#unanswered.size === submissions.length) this.#watch();
    this.#duplex.write(streamFrame(submissions, first));
  }

  /** Ends it once everything is answered. */
  end(): void {
    this.#duplex.end();
  }

  cancel(): void {
    this.#duplex.cancel();
  }

  /** One timer for whichever silence counts now. */
  #watch(): void {
    this.#timer?.cancel();
    const idle = this.#unanswered.size === 0;
    this.#timer = this.#clock.after(idle ? idleMs : silenceMs, () => {
      if (idle) return this.#duplex.end();
      this.#silent = true;
      this.#duplex.cancel();
    });
  }

  #closed(why: Refusal | undefined): void {
    this.#timer?.cancel();
    const unanswered = [...this.#unanswered.values()];
    this.#unanswered.clear();
    const message = `no answer within ${silenceMs} ms`;
    this.#events.onClose(
      unanswered,
      this.#silent ? refusal(Code.deadlineExceeded, "deadline_exceeded", message) : why,
    );
  }
}
