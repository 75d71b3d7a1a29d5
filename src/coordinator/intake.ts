import { hash } from "node:crypto";
import { limits } from "../limits.js";
import type { TaskDraft } from "../task/draft.js";
import { FreshTask, type NewTask } from "../task/fresh-task.js";
import { deriveTaskId, formTaskId, slotOfQueue, timeOfId } from "../task/ids.js";
import { newTask } from "../task/new-task.js";
import type { QueueSettings, TaskSpec } from "../task/task.js";
import { uuidTimeAt } from "../task/uuid.js";
import { checkDraft, checkPayload, fillIn, type SpecContext, toSpec } from "../task/validate.js";
import { AlikeSubmission } from "./alike.js";
import type { Submission } from "./coordinator.js";
import type { Parts } from "./parts.js";
import { requestIdOf } from "./request-id.js";

/** A queue, and what all tasks that come to it share. */
export class Target {
  readonly queue: QueueSettings;
  readonly slot: number;
  /** Its listing was seen to. */
  touched = false;
  /** What ids are derived from: the names of namespace and queue, and room for a request id. */
  readonly #seed: Buffer;
  readonly #seedAt: number;

  constructor(queue: QueueSettings) {
    const names = Buffer.from(`${queue.namespace}\0${queue.name}\0`);
    this.queue = queue;
    this.slot = slotOfQueue(queue.namespace, queue.name);
    this.#seedAt = names.length;
    this.#seed = Buffer.concat([names], names.length + 36);
  }

  /**
   * P2: the id itself is the check, so a client's repeat of an unknown outcome needs no stored key.
   */
  idOf(requestId: string): string {
    this.#seed.write(requestId, this.#seedAt, "latin1");
    return this.#derive(timeOfId(requestId));
  }

  /** The same of a request id that stands among other bytes, made at that time. */
  idAt(time: number, bytes: Uint8Array, at: number): string {
    for (let n = 0; n < 36; n += 1) this.#seed[this.#seedAt + n] = bytes[at + n]!;
    return this.#derive(time);
  }

  #derive(time: number): string {
    // As hex: a Buffer for each costs more than the digest.
    return deriveTaskId(time, this.slot, hash("sha256", this.#seed, "hex"));
  }
}

/** Drafts that passed the rules which need neither settings nor time; a stream shares them. */
const sound = new WeakSet<TaskDraft>();

/** Makes the tasks of one request: judged, each with its id. */
export class Intake {
  readonly #parts: Parts;
  readonly #namespace: string;
  readonly #now: number;
  /** Of the drafts that several share. */
  readonly #specs = new Map<TaskDraft, TaskSpec>();
  #shared: TaskDraft | undefined;
  #spec: TaskSpec | undefined;

  constructor(parts: Parts, namespace: string, now: number) {
    this.#parts = parts;
    this.#namespace = namespace;
    this.#now = now;
  }

  /** Throws a DroverError if it is refused. */
  make(submission: Submission, target: Target): NewTask {
    if (submission instanceof AlikeSubmission) return this.#makeAlike(submission, target);
    const { draft, requestId } = submission;
    const spec = this.#judge(draft, target);
    const id = this.#formId(requestId, target);
    return newTask(id, spec, this.#parts.carrier?.atSubmit(id, spec.traceContext));
  }

  #makeAlike(submission: AlikeSubmission, target: Target): NewTask {
    const { shared, frame, from, to } = submission;
    const spec = shared === this.#shared ? this.#spec! : this.#specOf(shared, target);
    if (to - from > limits.payloadBytes) checkPayload("task.payload", submission.payload);
    const id = this.#formIdOf(submission, target);
    const given = spec.traceContext;
    const traceContext = this.#parts.carrier?.atSubmit(id, given) ?? given;
    // Without tracing it is what was given.
    if (traceContext === given && isFresh(spec)) return new FreshTask(id, spec, frame, from, to);
    return newTask(id, spec, traceContext, submission.payload);
  }

  /** Made once: all are of one queue, and come at one time. */
  #specOf(shared: TaskDraft, { queue }: Target): TaskSpec {
    let spec = this.#specs.get(shared);
    if (!spec) {
      if (!sound.has(shared)) checkDraft(shared);
      sound.add(shared);
      spec = fillIn(shared, this.#contextOf(queue));
    }
    this.#specs.set(shared, spec);
    this.#shared = shared;
    this.#spec = spec;
    return spec;
  }

  #judge(draft: TaskDraft, { queue }: Target): TaskSpec {
    return toSpec(draft, this.#contextOf(queue));
  }

  #contextOf(queue: QueueSettings): SpecContext {
    return { namespace: this.#namespace, queue, now: this.#now };
  }

  #formIdOf(submission: AlikeSubmission, target: Target): string {
    const { frame, requestAt, requestEnd } = submission;
    const time = requestEnd > requestAt ? uuidTimeAt(frame, requestAt) : undefined;
    // Whatever is to be said of others is said there.
    if (time === undefined || Math.abs(this.#now - time) > limits.submitIdAgeMs) {
      return this.#formId(submission.requestId, target);
    }
    return target.idAt(time, frame, requestAt);
  }

  #formId(requestId: string, target: Target): string {
    const id = requestIdOf(requestId, this.#now);
    if (id !== undefined) return target.idOf(id);
    return formTaskId(this.#now, target.slot, this.#parts.random.bytes(8));
  }
}

/** As most are: pending at once, and without an idempotency key. */
const isFresh = (spec: TaskSpec): boolean => spec.runAt === undefined && spec.idempotencyKey === "";
