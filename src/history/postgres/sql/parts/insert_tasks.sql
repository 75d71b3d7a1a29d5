  INSERT INTO tasks (id, version, fencing_token, created_at, ready_at, started_at, completed_at,
    cancel_requested_at, retention_ms, run, attempt, retry_count, lease_losses, releases, slot,
    priority, status, namespace, queue, type, session_id, worker_id, idempotency_key, tags, spec,
    error, progress, payload_type, payload, result_type, result, batch_id, schedule, extra,
    ended_at, purge_at)
  SELECT u.*, CASE WHEN completes THEN clock.now END,
    CASE WHEN completes THEN clock.now + u.retention_ms END
  FROM unnest($1::whole_task[]) AS u,
    LATERAL (SELECT u.status IN ('completed', 'failed', 'cancelled', 'expired')) AS f (completes),
    (SELECT now_ms() OFFSET 0) AS clock (now)
  ON CONFLICT (id) DO NOTHING
