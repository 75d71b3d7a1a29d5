-- Won in this transaction for tasks that are not inserted after all.
DELETE FROM idempotency_keys WHERE task_id = ANY ($1::uuid[])
