import { hash } from "node:crypto";
import { isDeepStrictEqual } from "node:util";
import { DroverError } from "../errors.js";
import { type Batch, batchEvents, type BatchSpec, statusOf } from "../task/batch/batch.js";
import { checkBatch } from "../task/batch/validate.js";
import type { TaskDraft } from "../task/draft.js";
import { formTaskId, timeOfId } from "../task/ids.js";
import { samePayload, type PayloadDecoder } from "../task/same-spec.js";
import { noBatch } from "./batch-errors.js";
import type { BatchDesk } from "./batch-desk.js";
import type { Batches, BatchView, CancelHow } from "./batches.js";
import { Bell } from "./bell.js";
import type { Page } from "./coordinator.js";
import { decodePageToken, encodePageToken } from "./page.js";
import type { Parts } from "./parts.js";
import { requestIdOf } from "./request-id.js";

/** How late a wait sees what another coordinator did. */
const lookMs = 500;
const waitersMax = 10_000;
/** Above every UUID. */
const highestId = "ffffffff-ffff-ffff-ffff-ffffffffffff";

/** Batches as people make, read, close, cancel and wait for them. */
export class BatchBook implements Batches {
  readonly #parts: Parts;
  readonly #desk: BatchDesk;
  readonly #waiting = new Map<string, Set<Bell>>();
  readonly #leaving = new AbortController();

  constructor(parts: Parts, desk: BatchDesk) {
    this.#parts = parts;
    this.#desk = desk;
    desk.onCompleted = (id) => this.#waiting.get(id)?.forEach((bell) => bell.ring());
  }

  async create(namespace: string, wanted: BatchSpec, requestId: string): Promise<BatchView> {
    checkBatch(wanted);
    const id = this.#formId(namespace, requestId);
    const { history, decodePayload } = this.#parts;
    const { batch, existing } = await history.batches.create({ ...wanted, id, namespace });
    if (existing && !sameBatch(batch, wanted, decodePayload)) {
      const message = `batch ${id} was made with it, and differs from this one`;
      throw new DroverError("submit_id_conflict", message, { field: "request_id" });
    }
    return this.#view(batch);
  }

  /** As ids of tasks: the id itself is the check for a repeat. */
  #formId(namespace: string, requestId: string): string {
    const { clock, random } = this.#parts;
    const now = clock.now();
    const id = requestIdOf(requestId, now);
    if (id === undefined) return formTaskId(now, 0, random.bytes(8));
    return formTaskId(timeOfId(id), 0, hash("sha256", `${namespace}\0batch\0${id}`, "buffer"));
  }

  async get(namespace: string, id: string): Promise<BatchView> {
    return this.#view(await this.#find(namespace, id));
  }

  async #find(namespace: string, id: string): Promise<Batch> {
    const batch = await this.#parts.history.batches.get(namespace, id);
    if (!batch) throw noBatch(id);
    return batch;
  }

  async #view(batch: Batch): Promise<BatchView> {
    return { ...batch, counts: await this.#parts.history.batches.counts(batch.id) };
  }

  async list(
    namespace: string,
    page: Page,
  ): Promise<{ batches: BatchView[]; nextPageToken: string }> {
    const below =
      decodePageToken("batches", page.pageToken, /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/) ||
      highestId;
    const { batches: history } = this.#parts.history;
    const found = await history.list(namespace, below, page.pageSize + 1);
    const shown = found.slice(0, page.pageSize);
    const last = shown.at(-1);
    const more = found.length > page.pageSize && last;
    return {
      batches: shown.map((batch) => ({ ...batch, counts: undefined })),
      nextPageToken: more ? encodePageToken("batches", last.id) : "",
    };
  }

  async close(namespace: string, id: string): Promise<BatchView> {
    const batch = await this.#parts.history.batches.close(namespace, id);
    if (!batch) throw noBatch(id);
    await this.#desk.check([batch.id]);
    return this.get(namespace, id);
  }

  async cancel(namespace: string, id: string, how: CancelHow): Promise<BatchView> {
    const batch = await this.#parts.history.batches.cancel(namespace, id, how);
    if (!batch) throw noBatch(id);
    if (!batch.cancelled) {
      const message = `all tasks of batch ${id} had ended`;
      throw new DroverError("batch_completed", message, { field: "batch_id" });
    }
    if (batch.completedAt === undefined) {
      await this.#desk.cancelTasks(batch);
      await this.#desk.check([batch.id]);
    }
    return this.get(namespace, id);
  }

  async wait(
    namespace: string,
    id: string,
    timeoutMs: number,
    signal: AbortSignal,
  ): Promise<{ batch: BatchView; finished: boolean }> {
    const { clock } = this.#parts;
    const endsAt = clock.monotonic() + timeoutMs;
    const ended = AbortSignal.any([signal, this.#leaving.signal]);
    const bell = this.#enrol(id.toLowerCase());
    try {
      for (;;) {
        const batch = await this.#find(namespace, id);
        const finished = statusOf(batch) === "completed";
        const leftMs = endsAt - clock.monotonic();
        if (finished || leftMs <= 0 || ended.aborted) {
          return { batch: await this.#view(batch), finished };
        }
        await bell.wait(Math.min(lookMs, leftMs), ended);
      }
    } finally {
      this.#leave(id.toLowerCase(), bell);
    }
  }

  /** The coordinator drains: waits are answered with what stands now. */
  release(): void {
    this.#leaving.abort(new Error("the coordinator drains"));
  }

  #enrol(id: string): Bell {
    const bells = this.#waiting.get(id) ?? new Set();
    if (this.#waiting.size >= waitersMax || bells.size >= waitersMax) {
      const message = `${waitersMax} calls wait for batches already`;
      throw new DroverError("overloaded", message, { retryAfterMs: 1_000 });
    }
    const bell = new Bell(this.#parts.clock);
    this.#waiting.set(id, bells.add(bell));
    return bell;
  }

  #leave(id: string, bell: Bell): void {
    const bells = this.#waiting.get(id);
    bells?.delete(bell);
    if (bells?.size === 0) this.#waiting.delete(id);
  }
}

/** Judged as repeats of submissions are. */
function sameBatch(a: BatchSpec, b: BatchSpec, decode: PayloadDecoder): boolean {
  if (a.description !== b.description || a.failureThreshold !== b.failureThreshold) return false;
  return batchEvents.every((event) => {
    const [one, other] = [a.callbacks[event], b.callbacks[event]];
    if (!one || !other) return one === other;
    const same = isDeepStrictEqual(said(one), said(other));
    return same && samePayload(one.payload, other.payload, decode);
  });
}

const said = (draft: TaskDraft): unknown =>
  JSON.parse(JSON.stringify({ ...draft, payload: undefined })) as unknown;
