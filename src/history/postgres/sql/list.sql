-- Any status, but a type, a queue or a tag: a range of tasks_by_queue, tasks_by_type or
-- tasks_by_tag.
SELECT {task} FROM tasks t
WHERE t.namespace = $1 AND t.id < $2::uuid
  AND ($3::text IS NULL OR t.type = $3) AND ($4::text IS NULL OR t.queue = $4)
  AND ($5::text IS NULL OR t.tags @> ARRAY[$5])
ORDER BY t.id DESC LIMIT $6
