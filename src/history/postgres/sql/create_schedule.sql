-- Nothing comes back where the name is taken, or the namespace has as many schedules as it may.
INSERT INTO schedules (namespace, name, version, revision, created_at, updated_at, due_at,
  last_tick, paused, note, spec, state, payload_type, payload)
SELECT $1, $2, 1, 1, now_ms(), now_ms(), $3, $4, $5, $6, $7::json, $8::json, $9, $10
WHERE (SELECT count(*) FROM schedules WHERE namespace = $1) < $11
ON CONFLICT DO NOTHING
RETURNING {schedule}
