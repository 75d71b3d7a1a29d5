-- In id order, so that two recorders never wait for each other in a ring.
SELECT t.id, t.version, t.run, t.status, t.fencing_token, t.namespace, t.queue
FROM unnest($1::uuid[]) AS u (id) JOIN tasks t ON t.id = u.id
ORDER BY t.id
FOR UPDATE OF t
