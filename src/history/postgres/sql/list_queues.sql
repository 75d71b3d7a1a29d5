SELECT namespace, name, version, paused, durability, max_retries, retention_ms, retry,
  types
FROM queues
WHERE ($1::text IS NULL OR namespace = $1) AND (namespace, name) > ($2, $3)
ORDER BY namespace, name LIMIT $4
