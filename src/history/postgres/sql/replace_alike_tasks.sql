-- As replace_tasks.sql, for rows ($1, from $4 to $5) all of which should be below version $2, in
-- run $3: one search of the index finds them, in the tables of their days.
WITH gone AS (
  DELETE FROM tasks t
  WHERE t.id = ANY ($1::uuid[]) AND t.id >= $4::uuid AND t.id <= $5::uuid
    AND t.version < $2::bigint AND t.run = $3::int AND coalesce(t.ended_at, 0) = 0
  RETURNING t.id
)
SELECT 1 / (count(*) = cardinality($1::uuid[]))::int FROM gone
