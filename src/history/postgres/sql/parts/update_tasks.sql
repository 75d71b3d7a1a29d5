  UPDATE tasks t
  SET version = u.version, fencing_token = u.fencing_token, ready_at = u.ready_at,
    started_at = u.started_at, completed_at = u.completed_at,
    cancel_requested_at = u.cancel_requested_at, run = u.run, attempt = u.attempt,
    retry_count = u.retry_count, lease_losses = u.lease_losses, releases = u.releases,
    priority = u.priority, status = u.status, session_id = u.session_id, worker_id = u.worker_id,
    error = u.error, progress = u.progress, result_type = u.result_type, result = u.result,
    extra = u.extra, ended_at = CASE WHEN completes THEN clock.now END,
    purge_at = CASE WHEN completes THEN clock.now + t.retention_ms END
