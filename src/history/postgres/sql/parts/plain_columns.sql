id, version, fencing_token, created_at, ready_at, started_at, completed_at, retention_ms, attempt,
  slot, priority, status, namespace, queue, type, session_id, worker_id, payload, result_type,
  result
