-- As record_tasks.sql, where no rows are new ($1 is empty).
WITH inserted (id, namespace, queue, status) AS (
  SELECT NULL::uuid, '', '', '' WHERE false
), {changed_tasks}
