-- Rows of whole tasks, and the marker $2 that lists them; without a marker where $2 is null. Known
-- ids are left alone. Answers which were written, or null for all.
WITH inserted AS (
{insert_tasks}
  RETURNING id
), marked AS (
  INSERT INTO commit_markers (id, created_at, task_ids)
  SELECT $2::uuid, now_ms(), array_agg(id) FROM inserted WHERE $2::uuid IS NOT NULL
  HAVING count(*) > 0
  ON CONFLICT (id) DO UPDATE SET task_ids = commit_markers.task_ids || excluded.task_ids
)
SELECT CASE WHEN count(*) < cardinality($1::whole_task[]) THEN coalesce(array_agg(id), '{}') END
  AS written
FROM inserted
