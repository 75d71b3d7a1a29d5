-- A whole flush in one statement: rows that should not be there yet ($1), changes of rows that
-- should be live ($2), with the attempts that these ended and the counts of what ended ($3 is the
-- shard). What is otherwise than it should be is left alone. Answers which were written, or null
-- for all. That a row is live is asked so that no plan reads all the live rows for it.
WITH inserted AS (
{insert_tasks}
  RETURNING id, namespace, queue, status
), {changed_tasks}
