-- What handlers logged: kept by day like their tasks, and gone with them. A table of its own, so
-- that thousands of lines of one task are in nobody's way who reads tasks.

CREATE TABLE task_logs (
  task_id uuid NOT NULL,
  fencing_token bigint NOT NULL CHECK (fencing_token >= 1),
  sequence int NOT NULL CHECK (sequence >= 1),
  attempt int NOT NULL CHECK (attempt >= 1),
  -- By the worker's clock.
  logged_at bigint NOT NULL,
  -- 1 debug, 2 info, 3 warn, 4 error.
  level smallint NOT NULL CHECK (level BETWEEN 1 AND 4),
  -- Above 0: a marker, for so many entries that are missing.
  dropped int NOT NULL DEFAULT 0 CHECK (dropped >= 0),
  -- A JSON string: it may hold what text refuses.
  message json NOT NULL,
  fields json,
  PRIMARY KEY (task_id, fencing_token, sequence)
) PARTITION BY RANGE (task_id);

CREATE TABLE task_logs_rest PARTITION OF task_logs DEFAULT;

-- As make_day, for the logs of that day's tasks.
CREATE FUNCTION make_log_day(day int) RETURNS boolean LANGUAGE plpgsql SET lock_timeout = '1s' AS $$
DECLARE
  low uuid := id_at(day * 86400000::bigint);
  high uuid := id_at((day + 1) * 86400000::bigint);
BEGIN
  PERFORM pg_advisory_xact_lock(hashtext('drover/make_day'), hashtext(current_schema()));
  IF to_regclass(day_table('task_logs', day)) IS NOT NULL
    OR EXISTS (SELECT FROM task_logs_rest WHERE task_id >= low AND task_id < high) THEN
    RETURN false;
  END IF;
  EXECUTE format('CREATE TABLE %I (LIKE task_logs INCLUDING ALL)', day_table('task_logs', day));
  EXECUTE format('ALTER TABLE task_logs ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
    day_table('task_logs', day), low, high);
  RETURN true;
END $$;

-- Days that have a table for logs and none for tasks any more: their tasks are gone, but for a few.
CREATE FUNCTION old_log_days() RETURNS SETOF int LANGUAGE sql STABLE AS $$
  SELECT to_date(right(c.relname, 8), 'YYYYMMDD') - date '1970-01-01' AS day
  FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
  WHERE i.inhparent = 'task_logs'::regclass AND c.relname ~ '^task_logs_[0-9]{8}$'
    AND to_date(right(c.relname, 8), 'YYYYMMDD') - date '1970-01-01' <= today() - 2
    AND to_regclass('tasks_' || right(c.relname, 8)) IS NULL
  ORDER BY day
$$;

-- Drops a day's logs, and keeps those of the tasks that outlived the day's own table. Nobody reads
-- or writes logs meanwhile, so it waits a second at most and looks at no more tasks than the bound.
CREATE FUNCTION drop_log_day(day int, bound int) RETURNS boolean LANGUAGE plpgsql
SET lock_timeout = '1s' AS $$
DECLARE
  name text := day_table('task_logs', day);
  low uuid := id_at(day * 86400000::bigint);
  high uuid := id_at((day + 1) * 86400000::bigint);
  kept uuid[];
BEGIN
  SELECT array_agg(id) INTO kept FROM (
    SELECT id FROM tasks WHERE id >= low AND id < high LIMIT bound + 1) AS outliving;
  IF cardinality(kept) > bound THEN RETURN false; END IF;
  LOCK TABLE ONLY task_logs IN ACCESS EXCLUSIVE MODE;
  IF to_regclass(name) IS NULL THEN RETURN false; END IF;
  EXECUTE format('ALTER TABLE task_logs DETACH PARTITION %I', name);
  EXECUTE format('INSERT INTO task_logs SELECT l.* FROM unnest($1) AS u (id)
    JOIN %I l ON l.task_id = u.id', name) USING kept;
  EXECUTE format('DROP TABLE %I', name);
  RETURN true;
END $$;
