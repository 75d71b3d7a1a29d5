-- What another one writes just now is left to it.
SELECT u.place
FROM unnest($1::text[], $2::text[], $3::bigint[]) WITH ORDINALITY
    AS u (namespace, name, revision, place)
JOIN schedules s
  ON s.namespace = u.namespace AND s.name = u.name AND s.revision = u.revision
ORDER BY s.namespace, s.name
FOR UPDATE OF s SKIP LOCKED
