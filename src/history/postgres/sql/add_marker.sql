INSERT INTO commit_markers (id, created_at, task_ids) VALUES ($1::uuid, now_ms(), ARRAY[$2::uuid])
