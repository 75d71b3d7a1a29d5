SELECT {batch}, NULL AS payloads FROM batches b
WHERE (b.namespace, b.id) < ($1, $2) AND b.namespace = $1
ORDER BY b.namespace DESC, b.id DESC LIMIT $3
