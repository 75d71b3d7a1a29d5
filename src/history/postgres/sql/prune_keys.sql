WITH old AS (
  SELECT namespace, queue, key FROM idempotency_keys WHERE expires_at <= now_ms()
  ORDER BY expires_at LIMIT $1 FOR UPDATE SKIP LOCKED
), gone AS (
  DELETE FROM idempotency_keys k USING old
  WHERE k.namespace = old.namespace AND k.queue = old.queue AND k.key = old.key
  RETURNING k.key
)
SELECT count(*) AS gone FROM gone
