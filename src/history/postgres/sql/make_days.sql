SELECT make_day(day) FROM generate_series(today(), today() + 3) AS day
WHERE to_regclass(day_table('tasks', day)) IS NULL
