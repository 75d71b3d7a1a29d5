WITH removed AS (
  DELETE FROM schedules
  WHERE namespace = $1 AND name = $2 AND ($3::bigint IS NULL OR version = $3)
  RETURNING namespace, name
), ticks AS (
  DELETE FROM schedule_ticks t USING removed r
  WHERE t.namespace = r.namespace AND t.schedule = r.name
)
SELECT EXISTS (SELECT FROM removed) AS removed,
  EXISTS (SELECT FROM schedules WHERE namespace = $1 AND name = $2) AS stood
