SELECT {schedule}, now_ms() AS now FROM schedules
WHERE due_at <= now_ms() ORDER BY due_at LIMIT $1
