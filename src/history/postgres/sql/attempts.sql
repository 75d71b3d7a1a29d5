SELECT a.task_id, a.fencing_token, a.started_at, a.ended_at, a.attempt, a.run, a.outcome,
  a.session_id, a.worker_id, a.error::text
FROM attempts a JOIN tasks t ON t.id = a.task_id
WHERE a.task_id = $1::uuid AND t.id = $1::uuid AND t.namespace = $2
ORDER BY a.fencing_token
