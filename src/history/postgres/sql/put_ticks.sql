-- A tick that was taken stays as it is, and is not among those returned.
INSERT INTO schedule_ticks AS t (namespace, schedule, tick_at, recorded_at, outcome, cause, task_id,
  error)
SELECT namespace, schedule, tick_at, now_ms(), outcome, cause, task_id, error
FROM unnest($1::text[], $2::text[], $3::bigint[], $4::text[], $5::text[], $6::uuid[], $7::text[])
  AS u (namespace, schedule, tick_at, outcome, cause, task_id, error)
ORDER BY namespace, schedule, tick_at
ON CONFLICT (namespace, schedule, tick_at) DO UPDATE
SET recorded_at = excluded.recorded_at, outcome = excluded.outcome, task_id = excluded.task_id,
  error = excluded.error
WHERE t.outcome <> 'taken'
RETURNING task_id
