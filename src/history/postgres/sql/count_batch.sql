-- What waits for a time that has come reads as pending; only such rows are looked at themselves.
SELECT t.status, count(*) AS tasks FROM tasks t
WHERE t.batch_id = $1 AND t.status IN ('blocked', 'pending', 'running', 'completed', 'failed',
  'cancelled', 'expired')
GROUP BY t.status
UNION ALL
SELECT CASE WHEN t.ready_at <= now_ms() THEN 'pending' ELSE t.status END, count(*) FROM tasks t
WHERE t.batch_id = $1 AND t.status IN ('scheduled', 'retrying')
GROUP BY 1
UNION ALL
SELECT g.status, g.tasks FROM batches b, LATERAL (VALUES ('completed', b.gone_completed),
  ('failed', b.gone_failed), ('cancelled', b.gone_cancelled), ('expired', b.gone_expired))
  AS g (status, tasks)
WHERE b.id = $1
