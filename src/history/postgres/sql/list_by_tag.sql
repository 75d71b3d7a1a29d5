-- How rare the tag is decides between tasks_by_tag and a walk down the ids.
SELECT {task} FROM tasks t
WHERE t.namespace = $1 AND t.id < $2::uuid AND t.tags @> ARRAY[$3]::text[]
  AND ($4::text IS NULL OR t.type = $4) AND ($5::text IS NULL OR t.queue = $5)
  AND ($6::text IS NULL OR $6 = CASE
    WHEN t.status IN ('scheduled', 'retrying') AND t.ready_at <= now_ms() THEN 'pending'
    ELSE t.status END)
ORDER BY t.id DESC LIMIT $7
