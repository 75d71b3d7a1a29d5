import { TaskService } from "../../gen/drover/v1/task_pb.js";
import type { Clock, Timer } from "../clock.js";
import { Code } from "../errors.js";
import { type Duplex, openDuplex } from "../transport/duplex.js";
import { handCodec } from "../transport/methods.js";
import { type Refusal, refusal } from "../transport/status.js";
import type { Channel } from "../transport/channel.js";
import { readAnswers, streamFrame, type SubmitAnswer } from "./hot-frames.js";
import { SentFrames } from "./sent-frames.js";
import type { Submission } from "./submissions.js";

export interface SubmitLinkEvents {
  /** Answers, each beside its submission. */
  readonly onAnswers: (
    submissions: readonly Submission[],
    answers: readonly SubmitAnswer[],
  ) => void;
  readonly onWritable: () => void;
  /** The stream is over; these were sent on it and have no answer. Undefined: it ended in order. */
  readonly onClose: (unanswered: Submission[], refusal: Refusal | undefined) => void;
}

/** A peer that answers nothing at all for this long is given up, though its pings come back. */
const silenceMs = 30_000;
/** A stream nobody uses is half-closed, so that an idle producer may exit. */
const idleMs = 10_000;

const codec = handCodec(TaskService.method.submitStream, (bytes: Buffer) => bytes, readAnswers);

/** One SubmitStream: numbers what is sent on it, and matches the answers. */
export class SubmitLink {
  readonly channel: Channel;
  readonly #clock: Clock;
  readonly #events: SubmitLinkEvents;
  readonly #duplex: Duplex<Buffer>;
  readonly #unanswered = new SentFrames();
  #timer: Timer | undefined;
  /** Monotonic ms of the last answer, or of the first frame that waits for one. */
  #heardAt: number;
  #silent = false;

  constructor(channel: Channel, clock: Clock, events: SubmitLinkEvents) {
    this.channel = channel;
    this.#clock = clock;
    this.#events = events;
    this.#duplex = openDuplex(channel, codec, {
      onAnswer: (answers) => this.#answered(answers),
      onWritable: events.onWritable,
      onClose: (why) => this.#closed(why),
    });
    this.#heardAt = clock.monotonic();
    this.#watch(idleMs);
  }

  /** Nothing is on its way: what is sent now need not wait for company. */
  get idle(): boolean {
    return this.#unanswered.size === 0;
  }

  get writable(): boolean {
    return this.#duplex.writable;
  }

  send(submissions: readonly Submission[]): void {
    if (this.#unanswered.size === 0) this.#heardAt = this.#clock.monotonic();
    for (const submission of submissions) submission.sends += 1;
    const first = this.#unanswered.add(submissions);
    this.#duplex.write(streamFrame(submissions, first));
  }

  /** Ends it once everything is answered. */
  end(): void {
    this.#duplex.end();
  }

  cancel(): void {
    this.#duplex.cancel();
  }

  #answered(answers: readonly SubmitAnswer[]): void {
    this.#heardAt = this.#clock.monotonic();
    const submissions: Submission[] = [];
    const matched: SubmitAnswer[] = [];
    for (const answer of answers) {
      const submission = this.#unanswered.take(answer.number);
      if (!submission) continue;
      submissions.push(submission);
      matched.push(answer);
    }
    this.#events.onAnswers(submissions, matched);
  }

  /** One timer for whichever silence counts when it fires: frames come too often for their own. */
  #watch(ms: number): void {
    this.#timer = this.#clock.after(ms, () => {
      const idle = this.#unanswered.size === 0;
      const leftMs = this.#heardAt + (idle ? idleMs : silenceMs) - this.#clock.monotonic();
      if (leftMs > 0) return this.#watch(Math.min(leftMs, idleMs));
      if (idle) return this.#duplex.end();
      this.#silent = true;
      this.#duplex.cancel();
    });
  }

  #closed(why: Refusal | undefined): void {
    this.#timer?.cancel();
    const unanswered = this.#unanswered.takeAll();
    const message = `no answer within ${silenceMs} ms`;
    this.#events.onClose(
      unanswered,
      this.#silent ? refusal(Code.deadlineExceeded, "deadline_exceeded", message) : why,
    );
  }
}
