INSERT INTO commit_markers (id, created_at, task_ids) VALUES ($1::uuid, now_ms(), $2::uuid[])
