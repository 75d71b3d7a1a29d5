-- What was asked never changes, so the payload and the spec are not touched. The rows are locked
-- and judged already; the guard stands here too, because no other statement may ever end a run
-- twice.
{update_tasks}
FROM unnest($1::task_change[]) AS u,
  LATERAL (SELECT u.status IN ('completed', 'failed', 'cancelled', 'expired')) AS f (completes),
  (SELECT now_ms() OFFSET 0) AS clock (now)
WHERE t.id = u.id AND t.version < u.above AND (t.ended_at IS NULL OR t.run < u.run)
