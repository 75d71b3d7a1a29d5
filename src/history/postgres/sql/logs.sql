SELECT fencing_token, sequence, attempt, logged_at, level, dropped, message::text, fields::text
FROM task_logs
WHERE task_id = $1::uuid AND (fencing_token, sequence) > ($2::bigint, $3::int)
  AND ($4::int IS NULL OR attempt = $4::int)
ORDER BY fencing_token, sequence LIMIT $5
