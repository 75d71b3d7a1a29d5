SELECT tick_at, outcome, cause, task_id, error, recorded_at FROM schedule_ticks
WHERE namespace = $1 AND schedule = $2 AND tick_at BETWEEN $3 AND $4
ORDER BY namespace DESC, schedule DESC, tick_at DESC LIMIT $5
