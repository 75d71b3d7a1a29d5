UPDATE schedules
SET version = version + 1, revision = revision + 1, updated_at = now_ms(), due_at = $3,
  last_tick = $4, paused = $5, note = $6, spec = $7::json, state = $8::json, payload_type = $9,
  payload = $10
WHERE namespace = $1 AND name = $2 AND revision = $11
RETURNING {schedule}
