-- Whole tasks, none of which should stand yet: one that does fails them all.
COPY tasks (id, version, fencing_token, created_at, ready_at, started_at, completed_at,
  cancel_requested_at, retention_ms, run, attempt, retry_count, lease_losses, releases, slot,
  priority, status, namespace, queue, type, session_id, worker_id, idempotency_key, tags, spec,
  error, progress, payload_type, payload, result_type, result, batch_id, schedule, extra, ended_at,
  purge_at)
FROM STDIN (FORMAT binary)
