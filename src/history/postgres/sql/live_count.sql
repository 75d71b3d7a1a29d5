SELECT count(*) AS tasks FROM tasks WHERE namespace = $1 AND ended_at IS NULL
