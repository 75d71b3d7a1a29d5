-- Ended rows, with all that is theirs: which ones is put in by prune.ts. What is locked is left for
-- the next time.
WITH gone AS (
  {gone} FOR UPDATE SKIP LOCKED
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
