WITH old AS (
  SELECT b.id FROM batches b
  WHERE NOT b.watched AND b.completed_at < now_ms() - $1::bigint
    AND (SELECT true FROM tasks t WHERE t.batch_id = b.id LIMIT 1) IS NULL
  ORDER BY b.completed_at LIMIT $2
  FOR UPDATE SKIP LOCKED
), gone AS (
  DELETE FROM batches b USING old WHERE b.id = old.id RETURNING b.id
)
SELECT count(*) AS gone FROM gone
