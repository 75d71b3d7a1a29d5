import type { TaskFilter } from "drover/client";

/** What an export holds of a task. Payloads and results stay out: they may be private. */
export interface TaskRow {
  id: string;
  type: string;
  queue: string;
  priority: number;
  status: string;
  attempt: number;
  retry_count: number;
  max_retries: number;
  /** RFC 3339, or undefined while it has not happened. */
  created_at: string | undefined;
  started_at: string | undefined;
  completed_at: string | undefined;
  worker_id: string | undefined;
  error_code: string | undefined;
}

export const taskColumns = [
  "id",
  "type",
  "queue",
  "priority",
  "status",
  "attempt",
  "retry_count",
  "max_retries",
  "created_at",
  "started_at",
  "completed_at",
  "worker_id",
  "error_code",
] as const satisfies readonly (keyof TaskRow)[];

export interface TaskPage {
  rows: TaskRow[];
  /** Empty on the last page. */
  nextPageToken: string;
}

/** Drover's tasks as a handler reads them. */
export interface TaskSource {
  /** One page, newest first. The token is empty for the first one. */
  page(filters: TaskFilter, pageToken: string, signal: AbortSignal): Promise<TaskPage>;
  close(): Promise<void>;
}
