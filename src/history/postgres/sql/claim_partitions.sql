-- The empty update makes the row come back whoever wrote it, also one committed while this
-- statement waited.
INSERT INTO settings (name, value) VALUES ('partitions', $1)
ON CONFLICT (name) DO UPDATE SET value = settings.value
RETURNING value
