WITH gone AS (
  SELECT namespace, queue, key FROM idempotency_keys WHERE expires_at <= now_ms()
  ORDER BY expires_at LIMIT $1 FOR UPDATE SKIP LOCKED
)
DELETE FROM idempotency_keys k USING gone
WHERE k.namespace = gone.namespace AND k.queue = gone.queue AND k.key = gone.key
