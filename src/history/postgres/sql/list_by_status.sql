-- One ordered walk a status, merged: each is a range of tasks_by_status. Rows that wait for a time
-- that has come read as pending, so $2 names the stored status and $3 what it reads as; the two
-- differ for such rows only.
SELECT {task}
FROM (
  SELECT found.id
  FROM unnest($2::text[], $3::text[]) AS s (stored, shown),
  LATERAL (
    SELECT l.id FROM tasks l
    WHERE l.namespace = $1 AND l.status = s.stored AND l.id < $4::uuid
      AND (s.shown = CASE WHEN l.status IN ('scheduled', 'retrying') AND l.ready_at <= now_ms()
        THEN 'pending' ELSE l.status END)
      AND ($5::text IS NULL OR l.type = $5) AND ($6::text IS NULL OR l.queue = $6)
      AND ($7::text IS NULL OR l.tags @> ARRAY[$7])
    ORDER BY l.id DESC LIMIT $8
  ) found
  ORDER BY found.id DESC LIMIT $8
) page JOIN tasks t ON t.id = page.id
ORDER BY t.id DESC
