INSERT INTO queues AS q (namespace, name, version, paused, durability, max_retries, retention_ms,
  retry, types)
SELECT $1, $2, 1, $3, $4, $5, $6, $7::json, $9::json
WHERE coalesce($8::bigint, 0) = 0 OR EXISTS (SELECT FROM queues WHERE namespace = $1 AND name = $2)
ON CONFLICT (namespace, name) DO UPDATE
SET version = q.version + 1, paused = excluded.paused, durability = excluded.durability,
  max_retries = excluded.max_retries, retention_ms = excluded.retention_ms, retry = excluded.retry,
  types = excluded.types
WHERE $8::bigint IS NULL OR q.version = $8::bigint
RETURNING namespace, name, version, paused, durability, max_retries, retention_ms, retry, types
