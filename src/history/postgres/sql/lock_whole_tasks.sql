-- In id order, as everywhere: so that two of these, or a recorder, never wait for each other in a
-- ring.
SELECT {task} FROM unnest($1::uuid[]) AS u (id) JOIN tasks t ON t.id = u.id
WHERE t.namespace = $2
ORDER BY t.id
FOR UPDATE OF t
