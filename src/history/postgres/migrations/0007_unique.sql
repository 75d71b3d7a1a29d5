-- Who holds a unique key of a DURABLE queue. Won in the transaction that inserts the task, released
-- in the one that writes its start or its end: a key neither outlives its task nor dies before it.
CREATE TABLE unique_keys (
  namespace text COLLATE "C" NOT NULL,
  queue text COLLATE "C" NOT NULL,
  key text COLLATE "C" NOT NULL,
  task_id uuid NOT NULL,
  scope text NOT NULL CHECK (scope IN ('until_final', 'until_started', 'for_time')),
  -- With for_time, and only then.
  expires_at bigint CHECK ((expires_at IS NOT NULL) = (scope = 'for_time')),
  PRIMARY KEY (namespace, queue, key)
);
CREATE INDEX unique_keys_by_task ON unique_keys (task_id);
CREATE INDEX unique_keys_expiry ON unique_keys (expires_at) WHERE expires_at IS NOT NULL;

CREATE FUNCTION release_unique_key() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  DELETE FROM unique_keys k
  WHERE k.task_id = NEW.id
    AND (k.scope = 'until_started' OR (k.scope = 'until_final' AND NEW.ended_at IS NOT NULL));
  RETURN NULL;
END
$$;

-- Tasks without a key pay for a look at two columns and a search in their short spec.
CREATE TRIGGER tasks_release_unique_key AFTER UPDATE ON tasks FOR EACH ROW
WHEN ((NEW.ended_at IS NOT NULL OR NEW.started_at IS NOT NULL)
  AND position('"unique":{' IN NEW.spec::text) > 0)
EXECUTE FUNCTION release_unique_key();
