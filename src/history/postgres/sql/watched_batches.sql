SELECT id FROM batches WHERE watched AND id > $1 ORDER BY id LIMIT $2
