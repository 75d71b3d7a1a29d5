import { createClient, type Task } from "drover/client";
import type { TaskRow, TaskSource } from "./task-rows.js";

/**
 * Reads tasks through the client SDK, from the coordinator at `address` (host:port; default: those
 * DROVER_ADDR names). The caller closes it.
 */
export function openTaskSource(address?: string): TaskSource {
  const client = createClient(address === undefined ? {} : { address });
  return {
    async page(filters, pageToken, signal) {
      const page = await client.listPage({
        ...filters,
        ...(pageToken !== "" && { pageToken }),
        pageSize: 500,
        signal,
      });
      return { rows: page.items.map(rowOf), nextPageToken: page.nextPageToken };
    },
    // Nothing was submitted, so there is nothing to wait for.
    close: () => client.close({ graceMs: 0 }),
  };
}

const rowOf = (task: Task): TaskRow => ({
  id: task.id,
  type: task.type,
  queue: task.queue,
  priority: task.priority,
  status: task.status,
  attempt: task.attempt,
  retry_count: task.retryCount,
  max_retries: task.maxRetries,
  created_at: task.createdAt?.toISOString(),
  started_at: task.startedAt?.toISOString(),
  completed_at: task.completedAt?.toISOString(),
  worker_id: task.workerId,
  error_code: task.error?.code,
});
