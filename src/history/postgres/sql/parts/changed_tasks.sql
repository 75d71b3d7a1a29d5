updated AS (
{update_tasks}
  FROM unnest($2::task_change[]) AS u,
    LATERAL (SELECT u.status IN ('completed', 'failed', 'cancelled', 'expired')) AS f (completes),
    (SELECT now_ms() OFFSET 0) AS clock (now)
  WHERE t.id = u.id AND t.version < u.above AND t.run = u.run AND coalesce(t.ended_at, 0) = 0
  RETURNING t.id, t.namespace, t.queue, t.status, u.fencing_token, u.attempt, u.run, u.session_id,
    u.worker_id, u.attempt_started_at, u.attempt_ended_at, u.attempt_outcome, u.attempt_error
), attempted AS (
  INSERT INTO attempts (task_id, fencing_token, started_at, ended_at, attempt, run, outcome,
    session_id, worker_id, error)
  SELECT id, fencing_token, attempt_started_at, attempt_ended_at, attempt, run, attempt_outcome,
    session_id, worker_id, attempt_error
  FROM updated WHERE attempt_started_at IS NOT NULL
  {keep_attempt}
), written AS (
  SELECT id, namespace, queue, status FROM inserted
  UNION ALL
  SELECT id, namespace, queue, status FROM updated
), counted AS (
  INSERT INTO final_counts (namespace, queue, status, shard, tasks)
  SELECT namespace, queue, status, $3::smallint, count(*) FROM written
  WHERE status IN ('completed', 'failed', 'cancelled', 'expired')
  GROUP BY namespace, queue, status ORDER BY namespace, queue, status
  ON CONFLICT (namespace, queue, status, shard) DO UPDATE
  SET tasks = final_counts.tasks + excluded.tasks
)
SELECT CASE WHEN count(*) < cardinality($1::whole_task[]) + cardinality($2::task_change[])
  THEN coalesce(array_agg(id), '{}') END AS written
FROM written
