-- Seen at once, but not waited for on disk: a crash of Postgres may lose the last moments of logs,
-- and no handler is slowed down for them.
WITH unhurried AS (SELECT set_config('synchronous_commit', 'off', true) AS setting)
INSERT INTO task_logs (task_id, fencing_token, sequence, attempt, logged_at, level, dropped,
  message, fields)
SELECT task_id, fencing_token, sequence, attempt, logged_at, level, dropped, message::json,
  fields::json
FROM unnest($1::uuid[], $2::bigint[], $3::int[], $4::int[], $5::bigint[], $6::smallint[],
    $7::int[], $8::text[], $9::text[])
  AS u (task_id, fencing_token, sequence, attempt, logged_at, level, dropped, message, fields),
  unhurried
WHERE setting = 'off'
ON CONFLICT (task_id, fencing_token, sequence) DO NOTHING
