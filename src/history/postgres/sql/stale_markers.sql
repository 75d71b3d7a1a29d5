-- A marker without live rows is returned too, as one row with a null id, so that it gets cleared.
WITH markers AS (
  SELECT id, task_ids, created_at FROM commit_markers
  WHERE created_at <= now_ms() - $1::bigint ORDER BY created_at, id LIMIT $2
)
SELECT m.id AS marker, {task}
FROM markers m
LEFT JOIN LATERAL (
  SELECT tasks.* FROM unnest(m.task_ids) AS u (id)
  JOIN tasks ON tasks.id = u.id AND tasks.ended_at IS NULL
) t ON true
ORDER BY m.created_at, m.id, t.id
