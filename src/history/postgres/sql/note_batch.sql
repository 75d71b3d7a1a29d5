UPDATE batches b
SET called = $2::json, watched = $4,
  completed_at = CASE WHEN $3 THEN coalesce(b.completed_at, now_ms()) ELSE b.completed_at END
WHERE b.id = $1
