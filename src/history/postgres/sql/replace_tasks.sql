-- Ahead of copy_tasks.sql, in its transaction: takes out live rows, of which that brings back all,
-- ended. A division by zero ends both unless each of them lives, in this run and below its version.
WITH gone AS (
  DELETE FROM tasks t USING unnest($1::uuid[], $2::bigint[], $3::bigint[]) AS u (id, above, run)
  WHERE t.id = u.id AND t.version < u.above AND t.run = u.run AND coalesce(t.ended_at, 0) = 0
  RETURNING t.id
)
SELECT 1 / (count(*) = cardinality($1::uuid[]))::int FROM gone
