import { TaskService } from "../../gen/drover/v1/task_pb.js";
import type { Clock, Random, Timer } from "../clock.js";
import { Code } from "../errors.js";
import { limits } from "../limits.js";
import { fullJitter } from "../transport/backoff.js";
import type { Channel } from "../transport/channel.js";
import { createHold } from "../transport/hold.js";
import { idLength, IdStamp } from "../transport/ids.js";
import { rawCodec } from "../transport/methods.js";
import { outcomeUnknown, type Refusal, refusal, refusalOfError } from "../transport/status.js";
import { callUnary } from "../transport/unary.js";
import { Aborts } from "./aborts.js";
import type { ChannelPool } from "./channel-pool.js";
import { clientClosed, DroverClientError } from "./errors.js";
import { type SubmitAnswer, toSubmitStatus, unaryRequest } from "./hot-frames.js";
import { type Sink, Submission, SubmissionQueue } from "./submissions.js";
import { SubmitLink } from "./submit-link.js";
import { repeatable, tooLate } from "./submit-retry.js";
import { Unanswered } from "./unanswered.js";

export interface SubmitterOptions {
  clock: Clock;
  random: Random;
  pool: ChannelPool;
}

export interface SubmitPlan {
  /** Gives up waiting; the task may stand all the same. */
  signal?: AbortSignal | undefined;
  /** Gives up repeating after this long. Default and at most 5 min. */
  timeoutMs?: number | undefined;
}

const unaryCodec = rawCodec(TaskService.method.submitTasks);
const unaryAnswerMs = 30_000;

/**
 * Gathers the submits of a tick into frames of one stream, and repeats what has no answer, under
 * the same request id, until a coordinator answers or five minutes are over.
 */
export class Submitter {
  readonly #options: SubmitterOptions;
  readonly #ids: IdStamp;
  readonly #queue = new SubmissionQueue();
  readonly #unanswered = new Unanswered(createHold());
  readonly #aborts = new Aborts();
  readonly #timers = new Set<Timer>();
  readonly #closing = new AbortController();
  #scheduled = false;
  #link: SubmitLink | undefined;
  #opening = false;
  /** The coordinators know no SubmitStream: SubmitTasks instead. */
  #unary = false;
  #failures = 0;

  constructor(options: SubmitterOptions) {
    this.#options = options;
    this.#ids = new IdStamp(options.clock, options.random);
  }

  /**
   * Takes what `encodeItem` has made. What it is refused for is a DroverClientError, or the reason
   * of the signal. No promise and no function for each: a batch has one sink for all its tasks.
   */
  submit(type: string, item: Buffer, plan: SubmitPlan, sink: Sink, place: number): void {
    const { clock } = this.#options;
    if (plan.signal?.aborted) return sink.refused(place, plan.signal.reason, type);
    if (this.#closed) return sink.refused(place, clientClosed(), type);
    if (this.#unanswered.full) {
      const again = (rest: SubmitPlan): void => this.submit(type, item, rest, sink, place);
      const refused = (error: unknown): void => sink.refused(place, error, type);
      return void this.#wait(plan).then(again, refused);
    }
    const patienceMs = Math.min(plan.timeoutMs ?? limits.submitRetryMs, limits.submitRetryMs);
    const endAt = clock.monotonic() + patienceMs;
    const submission = new Submission(type, item, sink, place, endAt);
    // Not before its turn: an id is good for a time.
    this.#ids.write(item, item.length - idLength);
    this.#guard(submission, plan.signal, plan.timeoutMs === undefined ? undefined : patienceMs);
    this.#unanswered.add(submission);
    this.#enqueue(submission);
  }

  /** Until its turn has come. Answers what is left of the plan. */
  async #wait(plan: SubmitPlan): Promise<SubmitPlan> {
    const { clock } = this.#options;
    const { signal, timeoutMs } = plan;
    const since = clock.monotonic();
    const turn = this.#unanswered.turn();
    const forget = signal && this.#aborts.listen(signal, () => turn.giveUp(signal.reason));
    const giveUp = (): void => turn.giveUp(tooLate({ sends: 0 }));
    const timer = timeoutMs === undefined ? undefined : clock.after(timeoutMs, giveUp);
    try {
      await turn.come;
    } finally {
      forget?.();
      timer?.cancel();
    }
    if (signal?.aborted) this.#unanswered.beginTurn();
    if (timeoutMs === undefined) return plan;
    return { signal, timeoutMs: Math.max(0, since + timeoutMs - clock.monotonic()) };
  }

  /** Waits until everything is answered, at most `ms`; the rest is rejected. */
  async close(ms: number): Promise<void> {
    const givenUp = new AbortController();
    const late = this.#options.clock.sleep(ms, givenUp.signal).catch(() => undefined);
    await Promise.race([this.#unanswered.empty(), late]);
    givenUp.abort();
    this.#closing.abort(clientClosed());
    for (const submission of this.#unanswered) this.#fail(submission, clientClosed());
    for (const timer of this.#timers) timer.cancel();
    this.#unanswered.beginAllTurns();
    this.#link?.end();
  }

  get #closed(): boolean {
    return this.#closing.signal.aborted;
  }

  /** Only those who ask for it pay for a listener or a timer. */
  #guard(submission: Submission, signal: AbortSignal | undefined, ms: number | undefined): void {
    if (signal) {
      const onAbort = (): void => this.#fail(submission, signal.reason);
      (submission.cleanup ??= []).push(this.#aborts.listen(signal, onAbort));
    }
    if (ms !== undefined) {
      const giveUp = (): void => this.#fail(submission, tooLate(submission));
      const timer = this.#options.clock.after(ms, giveUp);
      (submission.cleanup ??= []).push(() => timer.cancel());
    }
  }

  #enqueue(submission: Submission): void {
    this.#queue.push(submission);
    if (this.#queue.fullFrame) return this.#flush();
    if (this.#scheduled) return;
    this.#scheduled = true;
    const flush = (): void => {
      this.#scheduled = false;
      this.#flush();
    };
    // A lone one goes at once; under load those of other events of this tick ride along.
    if (this.#link?.idle) process.nextTick(flush);
    else setImmediate(flush);
  }

  #flush(): void {
    if (this.#queue.length === 0 || this.#closed) return;
    if (this.#unary) return void this.#sendUnary(this.#queue.take());
    if (!this.#link) return void this.#open();
    while (this.#link?.writable && this.#queue.length > 0) {
      const portion = this.#queue.take();
      if (portion.length > 0) this.#link.send(portion);
    }
  }

  async #open(): Promise<void> {
    if (this.#opening) return;
    this.#opening = true;
    const channel = await this.#connect();
    this.#opening = false;
    if (!channel || this.#closed) return;
    const link: SubmitLink = new SubmitLink(channel, this.#options.clock, {
      onAnswers: (submissions, answers) => this.#answered(submissions, answers),
      onWritable: () => this.#flush(),
      onClose: (unanswered, why) => this.#lost(link, unanswered, why),
    });
    this.#link = link;
    this.#flush();
  }

  /** Goes round the addresses until one answers; undefined once nobody waits any more. */
  async #connect(): Promise<Channel | undefined> {
    const { clock, pool, random } = this.#options;
    const { signal } = this.#closing;
    for (let failures = 0; this.#unanswered.size > 0; failures += 1) {
      const acquired = await pool.acquire(signal).catch(() => undefined);
      if (!acquired) return undefined;
      if ("channel" in acquired) return acquired.channel;
      this.#expire(acquired.refusal);
      await clock.sleep(fullJitter(random, failures), signal).catch(() => undefined);
    }
    return undefined;
  }

  #lost(link: SubmitLink, unanswered: Submission[], why: Refusal | undefined): void {
    if (this.#link === link) this.#link = undefined;
    if (this.#closed) return;
    const ended = refusal(Code.unavailable, "unavailable", why?.message ?? "the stream ended");
    if (why?.code === Code.unimplemented) {
      this.#unary = true;
      this.#again(unanswered, ended);
    } else {
      if (why) this.#options.pool.leave(link.channel);
      // Exhausted is the stream then, not a task: nothing says what became of those on it.
      const unknown = !why || why.code === Code.resourceExhausted;
      this.#again(unanswered, unknown ? ended : why);
    }
    this.#flush();
  }

  async #sendUnary(portion: Submission[]): Promise<void> {
    const { clock, pool } = this.#options;
    const { signal } = this.#closing;
    if (this.#queue.length > 0) setImmediate(() => this.#flush());
    if (portion.length === 0) return;
    const acquired = await pool.acquire(signal).catch(() => undefined);
    if (!acquired) return;
    if ("refusal" in acquired) return this.#again(portion, acquired.refusal);
    for (const submission of portion) submission.sends += 1;
    const options = { clock, timeoutMs: unaryAnswerMs, signal };
    const request = unaryRequest(portion);
    const outcome = await callUnary(acquired.channel, unaryCodec, request, options).catch(
      () => undefined,
    );
    if (!outcome) return;
    if ("refusal" in outcome) {
      if (outcomeUnknown(outcome.refusal.code)) pool.leave(acquired.channel);
      return this.#again(portion, outcome.refusal);
    }
    const { outcomes } = outcome.answer;
    const answered = portion.slice(0, outcomes.length);
    this.#answered(
      answered,
      answered.map((_, number) => {
        const { taskId, status, error } = outcomes[number]!;
        return { number, taskId, status: toSubmitStatus(status), error };
      }),
    );
    const missing = refusal(Code.unavailable, "unavailable", "the answer leaves tasks out");
    this.#again(portion.slice(outcomes.length), missing);
  }

  /** Refusals of one kind wait together, under one timer. */
  #answered(submissions: readonly Submission[], answers: readonly SubmitAnswer[]): void {
    let refused: Map<string, { why: Refusal; submissions: Submission[] }> | undefined;
    for (let at = 0; at < answers.length; at += 1) {
      const answer = answers[at]!;
      if (!answer.error) {
        this.#succeed(submissions[at]!, answer);
        continue;
      }
      refused ??= new Map();
      const why = refusalOfError(answer.error);
      const kind = `${why.id} ${why.retryAfterMs} ${why.field} ${why.message}`;
      const group = refused.get(kind) ?? { why, submissions: [] };
      group.submissions.push(submissions[at]!);
      refused.set(kind, group);
    }
    if (!refused) return;
    for (const { why, submissions: alike } of refused.values()) this.#again(alike, why);
  }

  #succeed(submission: Submission, { taskId, status }: SubmitAnswer): void {
    this.#failures = 0;
    if (!this.#unanswered.finish(submission)) return;
    submission.sink.taken(submission.place, taskId, status, submission.type);
  }

  /** Sends them again after a while, where that is of use; the others end here. */
  #again(submissions: readonly Submission[], why: Refusal): void {
    const { clock, random } = this.#options;
    const waitMs = (why.retryAfterMs ?? 0) + fullJitter(random, this.#failures);
    const resumeAt = clock.monotonic() + waitMs;
    const repeated: Submission[] = [];
    for (const submission of submissions) {
      if (submission.done) continue;
      if (!repeatable(submission, why)) this.#fail(submission, new DroverClientError(why));
      else if (resumeAt >= submission.endAt) this.#fail(submission, tooLate(submission, why));
      else repeated.push(submission);
    }
    if (repeated.length === 0) return;
    this.#failures += 1;
    const timer = clock.after(waitMs, () => {
      this.#timers.delete(timer);
      for (const submission of repeated) if (!submission.done) this.#enqueue(submission);
    });
    this.#timers.add(timer);
  }

  /** No coordinator can be reached: those whose time is over hear it now. */
  #expire(why: Refusal): void {
    const now = this.#options.clock.monotonic();
    for (const submission of this.#unanswered) {
      if (now >= submission.endAt) this.#fail(submission, tooLate(submission, why));
    }
  }

  #fail(submission: Submission, error: unknown): void {
    const { sink, place, type } = submission;
    if (this.#unanswered.finish(submission)) sink.refused(place, error, type);
  }
}
