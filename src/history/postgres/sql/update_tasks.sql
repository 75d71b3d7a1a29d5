-- What was asked never changes, so the payload and the spec are not touched. The rows are locked
-- and judged already; the guard stands here too, because no other statement may ever end a run
-- twice.
UPDATE tasks t
SET version = u.version, fencing_token = u.fencing_token, ready_at = u.ready_at,
  started_at = u.started_at, completed_at = u.completed_at,
  cancel_requested_at = u.cancel_requested_at, run = u.run, attempt = u.attempt,
  retry_count = u.retry_count, lease_losses = u.lease_losses, releases = u.releases,
  priority = u.priority, status = u.status, session_id = u.session_id, worker_id = u.worker_id,
  error = u.error::json, progress = u.progress::json, result_type = u.result_type,
  result = substring($19::bytea FROM u.result_at FOR u.result_length),
  extra = u.extra::json,
  ended_at = CASE WHEN u.completes THEN now_ms() END,
  purge_at = CASE WHEN u.completes THEN now_ms() + t.retention_ms END
FROM (
  SELECT *, status IN ('completed', 'failed', 'cancelled', 'expired') AS completes
  FROM unnest($1::uuid[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[],
      $7::bigint[], $8::int[], $9::int[], $10::int[], $11::int[], $12::int[], $13::smallint[],
      $14::text[], $15::text[], $16::text[], $17::text[], $18::text[], $20::text[], $21::int[],
      $22::int[], $23::text[])
    AS u (id, version, fencing_token, ready_at, started_at, completed_at, cancel_requested_at, run,
      attempt, retry_count, lease_losses, releases, priority, status, session_id, worker_id, error,
      progress, result_type, result_at, result_length, extra)
) u
WHERE t.id = u.id AND t.version < u.version AND (t.ended_at IS NULL OR t.run < u.run)
RETURNING t.id
