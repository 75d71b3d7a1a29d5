-- A page, and one task more if there is one. One row without a task where none fits. What is called
-- to find them stands in migrations 0003 and 0011.
WITH found AS MATERIALIZED (SELECT * FROM {scan})
SELECT found.scanned, found.reached, {task}
FROM found LEFT JOIN LATERAL (
  SELECT tasks.* FROM (
    SELECT u.id FROM unnest(found.ids) AS u (id)
    WHERE found.reached IS NULL OR u.id >= found.reached
    ORDER BY u.id DESC LIMIT $6::int + 1
  ) page JOIN tasks ON tasks.id = page.id
) t ON true
ORDER BY t.id DESC
