-- Ended rows, with all that is theirs: which ones is put in by prune.ts. What is locked is left for
-- the next time.
WITH gone AS (
  {gone} FOR UPDATE SKIP LOCKED
), deleted AS (
  DELETE FROM tasks t USING gone WHERE t.id = gone.id
  RETURNING t.id, t.namespace, t.queue, t.status, t.idempotency_key, t.batch_id
), deleted_attempts AS (
  DELETE FROM attempts a USING gone WHERE a.task_id = gone.id
), deleted_logs AS (
  DELETE FROM task_logs l USING gone WHERE l.task_id = gone.id
), deleted_keys AS (
  DELETE FROM idempotency_keys k USING deleted d
  WHERE k.namespace = d.namespace AND k.queue = d.queue AND k.key = d.idempotency_key
    AND k.task_id = d.id
), counted AS (
  UPDATE batches b SET gone_completed = gone_completed + g.completed,
    gone_failed = gone_failed + g.failed, gone_cancelled = gone_cancelled + g.cancelled,
    gone_expired = gone_expired + g.expired
  FROM (
    SELECT batch_id, count(*) FILTER (WHERE status = 'completed') AS completed,
      count(*) FILTER (WHERE status = 'failed') AS failed,
      count(*) FILTER (WHERE status = 'cancelled') AS cancelled,
      count(*) FILTER (WHERE status = 'expired') AS expired
    FROM deleted WHERE batch_id IS NOT NULL GROUP BY batch_id ORDER BY batch_id
  ) g
  WHERE b.id = g.batch_id
)
SELECT namespace, queue, status, count(*) AS tasks FROM deleted GROUP BY namespace, queue, status
