SELECT {task} FROM unnest($1::uuid[]) AS u (id) JOIN tasks t ON t.id = u.id
WHERE $2::text IS NULL OR t.namespace = $2
