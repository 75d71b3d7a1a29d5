-- Wins free and expired keys; its holder wins its key again. A loser is not returned.
INSERT INTO idempotency_keys AS k (namespace, queue, key, task_id, expires_at)
SELECT namespace, queue, key, task_id, now_ms() + $5::bigint
FROM unnest($1::text[], $2::text[], $3::text[], $4::uuid[]) AS u (namespace, queue, key, task_id)
ORDER BY namespace, queue, key
ON CONFLICT (namespace, queue, key) DO UPDATE
SET task_id = excluded.task_id,
  expires_at = CASE WHEN k.task_id = excluded.task_id AND k.expires_at > now_ms()
    THEN k.expires_at ELSE excluded.expires_at END
WHERE k.task_id = excluded.task_id OR k.expires_at <= now_ms()
RETURNING task_id
