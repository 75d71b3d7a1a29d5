SELECT {task}
FROM (
  SELECT l.id FROM tasks l
  WHERE l.ended_at IS NULL AND l.slot % $2::int = $1::int AND l.id > $3::uuid
  ORDER BY l.id LIMIT $4
) page JOIN tasks t ON t.id = page.id
ORDER BY t.id
