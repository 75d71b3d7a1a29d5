-- A marker whose tasks have all ended has nothing left to find.
WITH gone AS (
  SELECT id FROM commit_markers m
  WHERE created_at <= now_ms() - $2::bigint AND NOT EXISTS (
    SELECT FROM unnest(m.task_ids) AS u (id) JOIN tasks t ON t.id = u.id AND t.ended_at IS NULL)
  ORDER BY created_at LIMIT $1
)
DELETE FROM commit_markers m USING gone WHERE m.id = gone.id
