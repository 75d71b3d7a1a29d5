UPDATE schedules s
SET revision = s.revision + 1, due_at = u.due_at, last_tick = u.last_tick, state = u.state::json
FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::text[])
  AS u (namespace, name, due_at, last_tick, state)
WHERE s.namespace = u.namespace AND s.name = u.name
