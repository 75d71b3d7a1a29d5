import { create } from "@bufbuild/protobuf";
import {
  BatchService,
  CancelBatchRequestSchema,
  CloseBatchRequestSchema,
  CreateBatchRequestSchema,
  GetBatchRequestSchema,
  ListBatchesRequestSchema,
  WaitBatchRequestSchema,
} from "../../gen/drover/v1/batch_pb.js";
import type { Clock, Random } from "../clock.js";
import { Code } from "../errors.js";
import { freshId } from "../transport/ids.js";
import { methodCodec } from "../transport/methods.js";
import { refusal } from "../transport/status.js";
import { toDuration } from "../transport/times.js";
import type { Batch, Batches, BatchHandle } from "./batch.js";
import type { Calls } from "./calls.js";
import { present } from "./convert.js";
import { fromWireBatch, toWireBatch } from "./convert-batch.js";
import { DroverClientError } from "./errors.js";
import { everyPage, type Page, type PageOptions } from "./pages.js";
import { pollUntil } from "./polling.js";
import type { Client, WaitOptions } from "./surface.js";

const { method } = BatchService;
const codecs = {
  create: methodCodec(method.createBatch),
  get: methodCodec(method.getBatch),
  list: methodCodec(method.listBatches),
  close: methodCodec(method.closeBatch),
  cancel: methodCodec(method.cancelBatch),
  wait: methodCodec(method.waitBatch),
};

export interface BatchesParts {
  readonly calls: Calls;
  readonly clock: Clock;
  readonly random: Random;
  readonly client: Pick<Client, "submit" | "submitMany">;
}

export function createBatches(parts: BatchesParts): Batches {
  const { calls, clock, random } = parts;
  async function listPage(options: PageOptions = {}): Promise<Page<Batch>> {
    const { pageSize, pageToken } = options;
    const request = create(ListBatchesRequestSchema, present({ pageSize, pageToken }));
    const { batches, nextPageToken } = await calls.unary(codecs.list, request, options);
    return { items: batches.map((batch) => fromWireBatch(batch)), nextPageToken };
  }
  const batches: Batches = {
    async create(wanted = {}, options) {
      const requestId = freshId(clock, random);
      const fields = { batch: toWireBatch(wanted), requestId };
      const request = create(CreateBatchRequestSchema, fields);
      const { batch } = await calls.unary(codecs.create, request, options);
      return batches.handle(fromWireBatch(batch).id);
    },
    handle: (id) => handleOf(id, batches, parts.client),
    async get(batchId, options) {
      const request = create(GetBatchRequestSchema, { batchId });
      return fromWireBatch((await calls.unary(codecs.get, request, options)).batch);
    },
    listPage,
    list: (options = {}) => everyPage(options, listPage),
    async close(batchId, options) {
      const request = create(CloseBatchRequestSchema, { batchId });
      return fromWireBatch((await calls.unary(codecs.close, request, options)).batch);
    },
    async cancel(batchId, { graceMs, reason, ...options } = {}) {
      const grace = graceMs === undefined ? undefined : toDuration(graceMs);
      const request = create(CancelBatchRequestSchema, present({ batchId, grace, reason }));
      return fromWireBatch((await calls.unary(codecs.cancel, request, options)).batch);
    },
    wait: (batchId, options = {}) => wait(parts, batchId, options),
  };
  return batches;
}

function wait(
  { calls, clock, random }: BatchesParts,
  batchId: string,
  options: WaitOptions,
): Promise<Batch> {
  return pollUntil(
    { clock, random },
    async (ms, plan) => {
      const request = create(WaitBatchRequestSchema, { batchId, timeout: toDuration(ms) });
      const { batch, finished } = await calls.unary(codecs.wait, request, plan);
      return finished ? fromWireBatch(batch) : undefined;
    },
    options,
    (ms) => {
      const message = `batch ${batchId} is not complete within ${ms} ms`;
      const refused = refusal(Code.deadlineExceeded, "wait_too_long", message);
      return new DroverClientError({ ...refused, hint: "Wait longer, or read it with get." });
    },
  );
}

const handleOf = (id: string, batches: Batches, client: BatchesParts["client"]): BatchHandle => ({
  id,
  submit: (type, payload, options) => client.submit(type, payload, { ...options, batchId: id }),
  submitMany: (tasks, plan) =>
    client.submitMany(
      tasks.map((task) => ({ ...task, options: { ...task.options, batchId: id } })),
      plan,
    ),
  get: (options) => batches.get(id, options),
  close: (options) => batches.close(id, options),
  cancel: (options) => batches.cancel(id, options),
  wait: (options) => batches.wait(id, options),
});
