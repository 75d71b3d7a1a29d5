INSERT INTO attempts (task_id, fencing_token, started_at, ended_at, attempt, run, outcome,
  session_id, worker_id, error)
SELECT task_id, fencing_token, started_at, ended_at, attempt, run, outcome, session_id, worker_id,
  error::json
FROM unnest($1::uuid[], $2::bigint[], $3::bigint[], $4::bigint[], $5::int[], $6::int[], $7::text[],
    $8::text[], $9::text[], $10::text[])
  AS u (task_id, fencing_token, started_at, ended_at, attempt, run, outcome, session_id, worker_id,
    error)
ON CONFLICT (task_id, fencing_token) DO UPDATE
SET ended_at = excluded.ended_at, outcome = excluded.outcome, error = excluded.error
WHERE attempts.outcome IS NULL
  OR (attempts.outcome = 'lost' AND excluded.outcome = 'completed')
