SELECT {batch}, b.payloads::text FROM batches b WHERE b.id = $2 AND b.namespace = $1
