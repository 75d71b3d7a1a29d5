SELECT CASE WHEN to_regclass(day_table('task_logs', day)) IS NULL THEN make_log_day(day)::text
  ELSE forget_emptiness(ARRAY[day_table('task_logs', day)])::text END
FROM generate_series(today(), today() + 3) AS day
UNION ALL SELECT forget_emptiness('{task_logs_rest}')::text
