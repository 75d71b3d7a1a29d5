SELECT CASE WHEN to_regclass(day_table('tasks', day)) IS NULL THEN make_day(day)::text
  ELSE forget_emptiness(ARRAY[day_table('tasks', day), day_table('attempts', day)])::text END
FROM generate_series(today(), today() + 3) AS day
UNION ALL SELECT forget_emptiness('{tasks_rest,attempts_rest}')::text
