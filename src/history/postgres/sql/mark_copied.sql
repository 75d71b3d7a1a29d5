-- Behind copy_tasks.sql, in its transaction: the marker $1 of what was copied, or none. Answers the
-- time here.
WITH marked AS (
  INSERT INTO commit_markers (id, created_at, task_ids)
  SELECT $1::uuid, now_ms(), $2::uuid[] WHERE $1::uuid IS NOT NULL
)
SELECT now_ms()
