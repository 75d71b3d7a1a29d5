SELECT now_ms() AS now, (SELECT min(due_at) FROM schedules WHERE due_at IS NOT NULL) AS due_at
