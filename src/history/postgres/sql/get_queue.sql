SELECT namespace, name, version, paused, durability, max_retries, retention_ms, retry,
  types
FROM queues WHERE namespace = $1 AND name = $2
