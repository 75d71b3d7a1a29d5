-- The page first, so that no whole rows are sorted.
SELECT {task}
FROM (
  SELECT id, ended_at FROM tasks
  WHERE ended_at >= now_ms() - $3::bigint AND slot % $2::int = $1::int
  ORDER BY ended_at DESC LIMIT $4
) page JOIN tasks t ON t.id = page.id
ORDER BY page.ended_at DESC
