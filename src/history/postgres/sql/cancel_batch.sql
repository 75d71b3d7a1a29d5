-- As close_batch.sql. What is over, or cancelled already, stays as it is.
WITH locked AS (
  SELECT id FROM batches WHERE id = $2 AND namespace = $1 FOR UPDATE
)
UPDATE batches b
SET closed_at = coalesce(b.closed_at, now_ms()),
  cancel = CASE WHEN b.cancelled_at IS NULL AND b.completed_at IS NULL THEN $3::json
    ELSE b.cancel END,
  cancelled_at = CASE WHEN b.completed_at IS NULL THEN coalesce(b.cancelled_at, now_ms())
    ELSE b.cancelled_at END
FROM locked WHERE b.id = locked.id
RETURNING {batch}, b.payloads::text
