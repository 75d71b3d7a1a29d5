SELECT {task} FROM tasks t
WHERE t.ended_at >= now_ms() - $3::bigint AND t.slot % $2::int = $1::int
ORDER BY t.ended_at DESC LIMIT $4
