-- Most tasks complete at once, and then the row of the task says all there is to know of that
-- attempt: it has no row of its own, or one that does not know the end. Any other attempt has one.
WITH task AS (
  SELECT id, fencing_token, started_at, completed_at, attempt, run, session_id, worker_id,
    status = 'completed' AND attempt >= 1 AND fencing_token >= 1 AND started_at IS NOT NULL
      AND completed_at IS NOT NULL AS completes
  FROM tasks WHERE id = $1::uuid AND namespace = $2
), own AS (
  SELECT a.*, t.completes AND a.fencing_token = t.fencing_token AS last
  FROM task t JOIN attempts a ON a.task_id = t.id
  WHERE a.task_id = $1::uuid
)
SELECT task_id, fencing_token, started_at, ended_at, attempt, run, outcome, session_id, worker_id,
  error::text AS error
FROM own WHERE NOT last OR outcome = 'completed'
UNION ALL
SELECT id, fencing_token, started_at, completed_at, attempt, run, 'completed', session_id,
  worker_id, NULL
FROM task WHERE completes AND NOT EXISTS (SELECT FROM own WHERE last AND outcome = 'completed')
ORDER BY fencing_token
