WITH old AS (
  SELECT namespace, schedule, tick_at FROM schedule_ticks
  WHERE recorded_at < now_ms() - $1::bigint AND outcome <> 'waiting'
  ORDER BY recorded_at LIMIT $2
  FOR UPDATE SKIP LOCKED
), gone AS (
  DELETE FROM schedule_ticks t USING old o
  WHERE t.namespace = o.namespace AND t.schedule = o.schedule AND t.tick_at = o.tick_at
  RETURNING t.tick_at
)
SELECT count(*) AS gone FROM gone
