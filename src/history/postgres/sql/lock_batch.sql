-- Those who join do not wait for it, nor it for them: they matter only until the batch is closed.
SELECT {batch}, NULL AS payloads FROM batches b WHERE b.id = $1 FOR NO KEY UPDATE
