-- Held until the tasks that join are committed: whoever closes a batch waits for them.
SELECT b.id, b.namespace, b.closed_at, b.cancelled_at FROM batches b
WHERE b.id = ANY ($1::uuid[]) ORDER BY b.id FOR KEY SHARE
