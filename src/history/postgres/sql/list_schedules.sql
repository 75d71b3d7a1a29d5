SELECT {schedule} FROM schedules
WHERE (namespace, name) > ($1, $2) AND namespace = $1 ORDER BY namespace, name LIMIT $3
