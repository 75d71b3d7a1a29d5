-- What few tasks have. The rest of their terms stands in spec.
ALTER TABLE tasks ADD COLUMN batch_id uuid;
ALTER TABLE tasks ADD COLUMN schedule text COLLATE "C";
-- How a cancel went, and the checkpoint of a handler.
ALTER TABLE tasks ADD COLUMN extra json;

CREATE INDEX tasks_by_batch ON tasks (batch_id, id) WHERE batch_id IS NOT NULL;
CREATE INDEX tasks_by_schedule ON tasks (namespace, schedule, id) WHERE schedule IS NOT NULL;
