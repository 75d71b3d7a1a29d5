-- Wins free and expired unique keys; its holder wins its key again. A loser is not returned.
INSERT INTO unique_keys AS k (namespace, queue, key, task_id, scope, expires_at)
SELECT namespace, queue, key, task_id, scope, now_ms() + window_ms
FROM unnest($1::text[], $2::text[], $3::text[], $4::uuid[], $5::text[], $6::bigint[])
  AS u (namespace, queue, key, task_id, scope, window_ms)
ORDER BY namespace, queue, key
ON CONFLICT (namespace, queue, key) DO UPDATE
SET task_id = excluded.task_id, scope = excluded.scope, expires_at = excluded.expires_at
WHERE k.task_id = excluded.task_id OR k.expires_at <= now_ms()
RETURNING task_id
