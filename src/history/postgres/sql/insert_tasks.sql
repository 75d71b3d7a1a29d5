-- Rows of whole tasks, and the marker $34 that lists them; without a marker where $34 is null.
-- Known ids are left alone.
WITH inserted AS (
  INSERT INTO tasks (id, version, fencing_token, created_at, ready_at, started_at, completed_at,
    cancel_requested_at, retention_ms, run, attempt, retry_count, lease_losses, releases, slot,
    priority, status, namespace, queue, type, session_id, worker_id, idempotency_key, tags, spec,
    error, progress, payload_type, payload, result_type, result, batch_id, schedule, extra,
    ended_at, purge_at)
  SELECT id, version, fencing_token, created_at, ready_at, started_at, completed_at,
    cancel_requested_at, retention_ms, run, attempt, retry_count, lease_losses, releases, slot,
    priority, status, namespace, queue, type, session_id, worker_id, idempotency_key, tags::text[],
    spec::json, error::json, progress::json, payload_type,
    substring($33::bytea FROM payload_at FOR payload_length), result_type,
    substring($33::bytea FROM result_at FOR result_length), batch_id, schedule, extra::json,
    CASE WHEN completes THEN now_ms() END, CASE WHEN completes THEN now_ms() + retention_ms END
  FROM unnest($1::uuid[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[],
      $7::bigint[], $8::bigint[], $9::bigint[], $10::int[], $11::int[], $12::int[], $13::int[],
      $14::int[], $15::smallint[], $16::smallint[], $17::text[], $18::text[], $19::text[],
      $20::text[], $21::text[], $22::text[], $23::text[], $24::text[], $25::text[], $26::text[],
      $27::text[], $28::text[], $29::int[], $30::int[], $31::text[], $32::int[], $35::int[],
      $36::uuid[], $37::text[], $38::text[])
    AS u (id, version, fencing_token, created_at, ready_at, started_at, completed_at,
      cancel_requested_at, retention_ms, run, attempt, retry_count, lease_losses, releases, slot,
      priority, status, namespace, queue, type, session_id, worker_id, idempotency_key, tags, spec,
      error, progress, payload_type, payload_at, payload_length, result_type, result_at,
      result_length, batch_id, schedule, extra),
    LATERAL (SELECT status IN ('completed', 'failed', 'cancelled', 'expired')) AS f (completes)
  ON CONFLICT (id) DO NOTHING
  RETURNING id
), marked AS (
  INSERT INTO commit_markers (id, created_at, task_ids)
  SELECT $34::uuid, now_ms(), array_agg(id) FROM inserted WHERE $34::uuid IS NOT NULL
  HAVING count(*) > 0
  ON CONFLICT (id) DO UPDATE SET task_ids = commit_markers.task_ids || excluded.task_ids
)
SELECT id FROM inserted
