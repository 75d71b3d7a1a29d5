import { BatchService } from "../../gen/drover/v1/batch_pb.js";
import type { Coordinator } from "../coordinator/coordinator.js";
import { DroverError } from "../errors.js";
import { limits } from "../limits.js";
import { parseTaskId } from "../task/ids.js";
import { checkLength } from "../task/rules.js";
import { namespaceOf } from "./context.js";
import { mount, type MountedService } from "./contract.js";
import { toBatchSpec, toWireBatch } from "./convert-batch.js";
import { durationMs } from "./convert-time.js";
import { toPage } from "./page.js";

/** Long polls without a timeout of their own. */
const defaultWaitMs = 30_000;

export function batchService(coordinator: Coordinator): MountedService {
  return mount(BatchService, {
    async createBatch({ batch, requestId }, context) {
      const wanted = toBatchSpec(batch);
      const made = await coordinator.batches.create(namespaceOf(context), wanted, requestId);
      return { batch: toWireBatch(made) };
    },
    async getBatch(request, context) {
      const batch = await coordinator.batches.get(namespaceOf(context), idOf(request));
      return { batch: toWireBatch(batch) };
    },
    async listBatches(request, context) {
      const page = await coordinator.batches.list(namespaceOf(context), toPage(request));
      return { batches: page.batches.map(toWireBatch), nextPageToken: page.nextPageToken };
    },
    async closeBatch(request, context) {
      const batch = await coordinator.batches.close(namespaceOf(context), idOf(request));
      return { batch: toWireBatch(batch) };
    },
    async cancelBatch(request, context) {
      const { grace, reason } = request;
      checkLength("reason", reason, 0, limits.cancelReasonLength);
      const graceMs = grace ? Math.ceil(durationMs(grace, "grace")) : limits.cancelGraceMs;
      const how = { reason, graceMs };
      const batch = await coordinator.batches.cancel(namespaceOf(context), idOf(request), how);
      return { batch: toWireBatch(batch) };
    },
    async waitBatch(request, context) {
      const { timeout } = request;
      const timeoutMs = timeout ? Math.ceil(durationMs(timeout, "timeout")) : defaultWaitMs;
      const namespace = namespaceOf(context);
      const { signal } = context;
      const waited = await coordinator.batches.wait(namespace, idOf(request), timeoutMs, signal);
      return { batch: toWireBatch(waited.batch), finished: waited.finished };
    },
  });
}

function idOf({ batchId }: { readonly batchId: string }): string {
  const id = parseTaskId(batchId);
  if (id) return id;
  const message = `batch_id: expected a UUID, got "${batchId.slice(0, 60)}"`;
  const hint = "A batch id is a UUID such as the one CreateBatch returned.";
  throw new DroverError("invalid_id", message, { field: "batch_id", hint });
}
