-- Nothing comes back where the id stands already.
INSERT INTO batches AS b (id, namespace, created_at, failure_threshold, spec, payloads)
VALUES ($1, $2, now_ms(), $3, $4::json, $5::json)
ON CONFLICT (id) DO NOTHING
RETURNING {batch}, b.payloads::text
