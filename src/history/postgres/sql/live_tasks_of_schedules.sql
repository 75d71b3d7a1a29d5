SELECT u.place, t.id
FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS u (namespace, name, place),
  LATERAL (
    SELECT id FROM tasks
    WHERE namespace = u.namespace AND schedule = u.name AND ended_at IS NULL
    ORDER BY id LIMIT $3
  ) t
ORDER BY u.place, t.id
