-- Days that have no table yet, of those that are made ahead; nothing here walks tasks.
SELECT (SELECT value FROM settings WHERE name = 'partitions') AS partitions,
  (SELECT count(*) FROM queues WHERE durability = 'relaxed') AS relaxed_queues,
  (SELECT coalesce(array_agg(day - today() ORDER BY day), '{}')
    FROM generate_series(today(), today() + 1) AS day
    WHERE to_regclass(day_table('tasks', day)) IS NULL) AS missing_days,
  (SELECT count(*) FROM (SELECT FROM commit_markers
    WHERE created_at <= now_ms() - $1::bigint LIMIT 10000) AS old) AS old_markers,
  (SELECT coalesce(now_ms() - min(created_at), 0) FROM commit_markers) AS oldest_marker_ms,
  (SELECT count(*) FROM (SELECT FROM tasks
    WHERE ended_at IS NULL ORDER BY id LIMIT 100000) AS live) AS live_tasks
