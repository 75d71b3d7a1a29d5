-- Behind copy_tasks.sql, in its transaction: how many ended how, in shard $5. Answers the time
-- here.
WITH counted AS (
  INSERT INTO final_counts (namespace, queue, status, shard, tasks)
  SELECT namespace, queue, status, $5::smallint, tasks
  FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[])
    AS u (namespace, queue, status, tasks)
  ON CONFLICT (namespace, queue, status, shard) DO UPDATE
  SET tasks = final_counts.tasks + excluded.tasks
)
SELECT now_ms()
