-- As list_tasks.sql, without the tasks themselves.
SELECT found.scanned, found.reached, ARRAY(
    SELECT u.id FROM unnest(found.ids) AS u (id)
    WHERE found.reached IS NULL OR u.id >= found.reached
    ORDER BY u.id DESC LIMIT $6::int + 1
  )::text[] AS ids
FROM {scan} AS found
