INSERT INTO attempts (task_id, fencing_token, started_at, ended_at, attempt, run, outcome,
  session_id, worker_id, error)
SELECT task_id, fencing_token, started_at, ended_at, attempt, run, outcome, session_id, worker_id,
  error::json
FROM unnest($1::uuid[], $2::bigint[], $3::bigint[], $4::bigint[], $5::int[], $6::int[], $7::text[],
    $8::text[], $9::text[], $10::text[])
  AS u (task_id, fencing_token, started_at, ended_at, attempt, run, outcome, session_id, worker_id,
    error)
{keep_attempt}
