-- Ended rows past their retention, with their attempts and keys; what is locked is left for the
-- next time. One table at a time, because those about to be dropped as a whole are left out.
WITH gone AS (
  SELECT id FROM {from} WHERE purge_at <= now_ms() ORDER BY purge_at LIMIT $1
  FOR UPDATE SKIP LOCKED
), deleted AS (
  DELETE FROM tasks t USING gone WHERE t.id = gone.id
  RETURNING t.id, t.namespace, t.queue, t.status, t.idempotency_key
), deleted_attempts AS (
  DELETE FROM attempts a USING gone WHERE a.task_id = gone.id
), deleted_logs AS (
  DELETE FROM task_logs l USING gone WHERE l.task_id = gone.id
), deleted_keys AS (
  DELETE FROM idempotency_keys k USING deleted d
  WHERE k.namespace = d.namespace AND k.queue = d.queue AND k.key = d.idempotency_key
    AND k.task_id = d.id
)
SELECT namespace, queue, status, count(*) AS tasks FROM deleted GROUP BY namespace, queue, status
