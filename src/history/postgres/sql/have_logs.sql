-- LIMIT keeps each look at its own few rows of the index, whatever the planner knows of the table.
SELECT u.place
FROM unnest($1::uuid[], $2::bigint[], $3::int[]) WITH ORDINALITY
    AS u (task_id, fencing_token, sequence, place),
  LATERAL (
    SELECT FROM task_logs l
    WHERE l.task_id = u.task_id
      AND (l.fencing_token, l.sequence) > (u.fencing_token, u.sequence)
    LIMIT 1
  ) l
