-- The strongest lock of a row: it waits for the commit of every task that joins just now.
WITH locked AS (
  SELECT id FROM batches WHERE id = $2 AND namespace = $1 FOR UPDATE
)
UPDATE batches b SET closed_at = coalesce(b.closed_at, now_ms())
FROM locked WHERE b.id = locked.id
RETURNING {batch}, b.payloads::text
