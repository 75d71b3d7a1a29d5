SELECT k.namespace, k.queue, k.key, k.task_id
FROM unnest($1::text[], $2::text[], $3::text[]) AS u (namespace, queue, key)
JOIN unique_keys k ON k.namespace = u.namespace AND k.queue = u.queue AND k.key = u.key
