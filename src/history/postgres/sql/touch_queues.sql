INSERT INTO queues (namespace, name)
SELECT DISTINCT namespace, name FROM unnest($1::text[], $2::text[]) AS u (namespace, name)
WHERE NOT EXISTS (SELECT FROM queues q WHERE q.namespace = u.namespace AND q.name = u.name)
ORDER BY namespace, name
ON CONFLICT DO NOTHING
