-- Times are milliseconds since 1970, durations milliseconds: exact, and the same numbers as
-- everywhere else in Drover. Free text may hold characters that Postgres refuses; names and tags
-- are stored escaped, the rest stands in json.

CREATE FUNCTION now_ms() RETURNS bigint LANGUAGE sql STABLE PARALLEL SAFE
  RETURN floor(extract(epoch FROM statement_timestamp()) * 1000)::bigint;

CREATE TABLE settings (
  name text COLLATE "C" PRIMARY KEY,
  value bigint NOT NULL
);

CREATE TABLE partitions (
  partition int PRIMARY KEY CHECK (partition >= 0),
  -- A fencing token is epoch * 2^40 + counter and must stay below 2^53.
  epoch bigint NOT NULL CHECK (epoch BETWEEN 1 AND 8191)
);

CREATE TABLE queues (
  namespace text COLLATE "C" NOT NULL,
  name text COLLATE "C" NOT NULL,
  version bigint NOT NULL DEFAULT 0 CHECK (version >= 0),
  paused boolean NOT NULL DEFAULT false,
  durability text NOT NULL DEFAULT 'durable' CHECK (durability IN ('durable', 'relaxed')),
  max_retries int,
  retention_ms bigint CHECK (retention_ms >= 0),
  retry json,
  PRIMARY KEY (namespace, name),
  CHECK (version = 0
    OR (max_retries IS NOT NULL AND retention_ms IS NOT NULL AND retry IS NOT NULL))
);

CREATE TABLE tasks (
  id uuid NOT NULL,
  version bigint NOT NULL CHECK (version >= 1),
  fencing_token bigint NOT NULL DEFAULT 0 CHECK (fencing_token >= 0),
  created_at bigint NOT NULL,
  ready_at bigint,
  started_at bigint,
  completed_at bigint,
  cancel_requested_at bigint,
  retention_ms bigint NOT NULL CHECK (retention_ms >= 0),
  -- When this run's end was written here; null while it lives. By the clock of this server, unlike
  -- completed_at.
  ended_at bigint,
  purge_at bigint,
  run int NOT NULL DEFAULT 1 CHECK (run >= 1),
  attempt int NOT NULL DEFAULT 0 CHECK (attempt >= 0),
  retry_count int NOT NULL DEFAULT 0 CHECK (retry_count >= 0),
  lease_losses int NOT NULL DEFAULT 0 CHECK (lease_losses >= 0),
  releases int NOT NULL DEFAULT 0 CHECK (releases >= 0),
  slot smallint NOT NULL CHECK (slot BETWEEN 0 AND 4095),
  priority smallint NOT NULL CHECK (priority BETWEEN 0 AND 3),
  status text COLLATE "C" NOT NULL CHECK (status IN ('blocked', 'scheduled', 'pending', 'running',
    'retrying', 'completed', 'failed', 'cancelled', 'expired')),
  namespace text COLLATE "C" NOT NULL,
  queue text COLLATE "C" NOT NULL,
  type text COLLATE "C" NOT NULL,
  session_id text COLLATE "C" NOT NULL DEFAULT '',
  worker_id text COLLATE "C" NOT NULL DEFAULT '',
  idempotency_key text COLLATE "C",
  tags text[] COLLATE "C",
  -- What was asked and is never filtered by: retry policy, labels, group, limits, trace context,
  -- durability.
  spec json NOT NULL,
  error json,
  progress json,
  payload_type text,
  payload bytea,
  result_type text,
  result bytea,
  PRIMARY KEY (id),
  CONSTRAINT tasks_ended CHECK (
    (ended_at IS NOT NULL) = (status IN ('completed', 'failed', 'cancelled', 'expired'))),
  CONSTRAINT tasks_purge CHECK ((purge_at IS NULL) = (ended_at IS NULL))
) PARTITION BY RANGE (id);

CREATE INDEX tasks_live ON tasks (id) INCLUDE (slot) WHERE ended_at IS NULL;
CREATE INDEX tasks_by_status ON tasks (namespace, status, id);
CREATE INDEX tasks_by_queue ON tasks (namespace, queue, id);
CREATE INDEX tasks_by_type ON tasks (namespace, type, id);
CREATE INDEX tasks_by_tag ON tasks USING gin (tags) WHERE tags IS NOT NULL;
CREATE INDEX tasks_ended ON tasks (ended_at) WHERE ended_at IS NOT NULL;
CREATE INDEX tasks_purge ON tasks (purge_at) WHERE purge_at IS NOT NULL;

CREATE TABLE attempts (
  task_id uuid NOT NULL,
  fencing_token bigint NOT NULL CHECK (fencing_token >= 1),
  started_at bigint NOT NULL,
  ended_at bigint,
  attempt int NOT NULL CHECK (attempt >= 1),
  run int NOT NULL CHECK (run >= 1),
  outcome text COLLATE "C" CHECK (outcome IN ('completed', 'failed', 'timeout', 'released',
    'cancelled', 'lost')),
  session_id text COLLATE "C" NOT NULL,
  worker_id text COLLATE "C" NOT NULL,
  error json,
  PRIMARY KEY (task_id, fencing_token)
) PARTITION BY RANGE (task_id);

-- Take what no day's table covers: nothing is ever refused for the time its id carries.
CREATE TABLE tasks_rest PARTITION OF tasks DEFAULT WITH (fillfactor = 85);
CREATE TABLE attempts_rest PARTITION OF attempts DEFAULT;

CREATE TABLE idempotency_keys (
  namespace text COLLATE "C" NOT NULL,
  queue text COLLATE "C" NOT NULL,
  key text COLLATE "C" NOT NULL,
  task_id uuid NOT NULL,
  expires_at bigint NOT NULL,
  PRIMARY KEY (namespace, queue, key)
);
CREATE INDEX idempotency_keys_expiry ON idempotency_keys (expires_at);

CREATE TABLE commit_markers (
  id uuid PRIMARY KEY,
  created_at bigint NOT NULL,
  task_ids uuid[] NOT NULL
);
CREATE INDEX commit_markers_age ON commit_markers (created_at);

-- Spread over shards, so that coordinators that record at once do not wait for one row. A single
-- shard may be negative.
CREATE TABLE final_counts (
  namespace text COLLATE "C" NOT NULL,
  queue text COLLATE "C" NOT NULL,
  status text COLLATE "C" NOT NULL
    CHECK (status IN ('completed', 'failed', 'cancelled', 'expired')),
  shard smallint NOT NULL,
  tasks bigint NOT NULL,
  PRIMARY KEY (namespace, queue, status, shard)
) WITH (fillfactor = 50);

-- The smallest id of a millisecond.
CREATE FUNCTION id_at(ms bigint) RETURNS uuid LANGUAGE sql IMMUTABLE PARALLEL SAFE
  RETURN (lpad(to_hex(ms), 12, '0') || repeat('0', 20))::uuid;

-- Ids of one page, for each index of tasks that lists. The bounds and the order name all columns of
-- the index, and a sort is out of question: so no plan, whatever the statistics, walks the ids of
-- all tasks or gathers all that match. Each reads about as many rows as it returns.
CREATE FUNCTION ids_by_status(of_namespace text, stored text[], shown text[], before uuid,
  of_type text, of_queue text, bound int)
RETURNS SETOF uuid LANGUAGE plpgsql STABLE
SET enable_sort = off SET enable_incremental_sort = off AS $$
BEGIN
  FOR n IN 1 .. cardinality(stored) LOOP
    RETURN QUERY SELECT t.id FROM tasks t
      WHERE (t.namespace, t.status, t.id) < (of_namespace, stored[n], before)
        AND (t.namespace, t.status, t.id) >= (of_namespace, stored[n], id_at(0))
        AND shown[n] = CASE WHEN t.status IN ('scheduled', 'retrying') AND t.ready_at <= now_ms()
          THEN 'pending' ELSE t.status END
        AND (of_type IS NULL OR t.type = of_type) AND (of_queue IS NULL OR t.queue = of_queue)
      ORDER BY t.namespace DESC, t.status DESC, t.id DESC LIMIT bound;
  END LOOP;
END $$;

CREATE FUNCTION ids_by_queue(of_namespace text, of_queue text, before uuid, of_type text, bound int)
RETURNS SETOF uuid LANGUAGE plpgsql STABLE
SET enable_sort = off SET enable_incremental_sort = off AS $$
BEGIN
  RETURN QUERY SELECT t.id FROM tasks t
    WHERE (t.namespace, t.queue, t.id) < (of_namespace, of_queue, before)
      AND (t.namespace, t.queue, t.id) >= (of_namespace, of_queue, id_at(0))
      AND (of_type IS NULL OR t.type = of_type)
    ORDER BY t.namespace DESC, t.queue DESC, t.id DESC LIMIT bound;
END $$;

CREATE FUNCTION ids_by_type(of_namespace text, of_type text, before uuid, bound int)
RETURNS SETOF uuid LANGUAGE plpgsql STABLE
SET enable_sort = off SET enable_incremental_sort = off AS $$
BEGIN
  RETURN QUERY SELECT t.id FROM tasks t
    WHERE (t.namespace, t.type, t.id) < (of_namespace, of_type, before)
      AND (t.namespace, t.type, t.id) >= (of_namespace, of_type, id_at(0))
    ORDER BY t.namespace DESC, t.type DESC, t.id DESC LIMIT bound;
END $$;

-- Days are counted from 1970, in UTC.
CREATE FUNCTION today() RETURNS int LANGUAGE sql STABLE RETURN (now_ms() / 86400000)::int;

CREATE FUNCTION day_table(parent text, day int) RETURNS text LANGUAGE sql IMMUTABLE
  RETURN parent || to_char(date '1970-01-01' + day, '"_"YYYYMMDD');

-- Makes the tables of one day and attaches them, which leaves readers and writers of other days
-- alone. Where rows of that day stand among the rest already, they stay there and the day gets no
-- table. Waits for another that makes it.
CREATE FUNCTION make_day(day int) RETURNS boolean LANGUAGE plpgsql SET lock_timeout = '1s' AS $$
DECLARE
  low uuid := id_at(day * 86400000::bigint);
  high uuid := id_at((day + 1) * 86400000::bigint);
BEGIN
  PERFORM pg_advisory_xact_lock(hashtext('drover/make_day'), hashtext(current_schema()));
  IF to_regclass(day_table('tasks', day)) IS NOT NULL
    OR EXISTS (SELECT FROM tasks_rest WHERE id >= low AND id < high)
    OR EXISTS (SELECT FROM attempts_rest WHERE task_id >= low AND task_id < high) THEN
    RETURN false;
  END IF;
  EXECUTE format('CREATE TABLE %I (LIKE tasks INCLUDING ALL) WITH (fillfactor = 85)',
    day_table('tasks', day));
  EXECUTE format('CREATE TABLE %I (LIKE attempts INCLUDING ALL)', day_table('attempts', day));
  EXECUTE format('ALTER TABLE tasks ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
    day_table('tasks', day), low, high);
  EXECUTE format('ALTER TABLE attempts ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
    day_table('attempts', day), low, high);
  RETURN true;
END $$;

-- A table that was analyzed while it was empty is believed to stay so, and plans made then read all
-- of it for each row once it fills. Truncating it makes the planner unsure again.
CREATE FUNCTION forget_emptiness(names text[]) RETURNS void LANGUAGE plpgsql
SET lock_timeout = '1s' AS $$
DECLARE name text;
BEGIN
  FOREACH name IN ARRAY names LOOP
    IF (SELECT reltuples = 0 FROM pg_class WHERE oid = to_regclass(name)) THEN
      EXECUTE format('LOCK TABLE %I IN ACCESS EXCLUSIVE MODE', name);
      IF pg_relation_size(to_regclass(name)) = 0 THEN
        EXECUTE format('TRUNCATE %I', name);
      END IF;
    END IF;
  END LOOP;
END $$;

-- How many rows of a day live or are kept beyond a time, counted up to a bound of each.
CREATE FUNCTION kept_of_day(day int, beyond bigint, bound int) RETURNS int LANGUAGE plpgsql STABLE
AS $$
DECLARE kept int;
BEGIN
  EXECUTE format('SELECT count(*) FROM ((SELECT FROM %1$I WHERE ended_at IS NULL LIMIT $2)
      UNION ALL (SELECT FROM %1$I WHERE purge_at > $1 LIMIT $2)) AS kept',
    day_table('tasks', day)) INTO kept USING beyond, bound;
  RETURN kept;
END $$;

-- Days over for a while that have a table: they need no new rows any more. `kept` counts what must
-- outlive the table now, `kept_soon` what must in a day's time.
CREATE FUNCTION old_days(bound int)
RETURNS TABLE (day int, kept int, kept_soon int) LANGUAGE sql STABLE AS $$
  SELECT d.day, kept_of_day(d.day, now_ms(), bound),
    kept_of_day(d.day, now_ms() + 86400000, bound)
  FROM (
    SELECT to_date(right(c.relname, 8), 'YYYYMMDD') - date '1970-01-01' AS day
    FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
    WHERE i.inhparent = 'tasks'::regclass AND c.relname ~ '^tasks_[0-9]{8}$'
  ) d
  WHERE d.day <= today() - 2 ORDER BY d.day
$$;

-- Takes a day's table out of sight, and what must be kept of it among the rest. Nobody reads or
-- writes tasks meanwhile, so it waits a second at most and does nothing that grows with the table.
CREATE FUNCTION retire_day(day int, bound int) RETURNS boolean LANGUAGE plpgsql
SET lock_timeout = '1s' AS $$
DECLARE
  old_tasks text := day_table('tasks', day);
  old_attempts text := day_table('attempts', day);
  kept uuid[];
BEGIN
  LOCK TABLE ONLY tasks, ONLY attempts IN ACCESS EXCLUSIVE MODE;
  IF to_regclass(old_tasks) IS NULL OR kept_of_day(day, now_ms(), bound + 1) > bound THEN
    RETURN false;
  END IF;
  EXECUTE format('ALTER TABLE tasks DETACH PARTITION %I', old_tasks);
  EXECUTE format('ALTER TABLE attempts DETACH PARTITION %I', old_attempts);
  EXECUTE format('WITH kept AS (
      DELETE FROM %I WHERE ended_at IS NULL OR purge_at > now_ms() RETURNING *
    ), moved AS (
      INSERT INTO tasks SELECT * FROM kept
    ) SELECT array_agg(id) FROM kept', old_tasks) INTO kept;
  EXECUTE format('INSERT INTO attempts SELECT a.* FROM unnest($1) AS u (id)
      JOIN %I a ON a.task_id = u.id', old_attempts) USING kept;
  EXECUTE format('ALTER TABLE %I RENAME TO %I', old_tasks, 'gone_' || old_tasks);
  EXECUTE format('ALTER TABLE %I RENAME TO %I', old_attempts, 'gone_' || old_attempts);
  RETURN true;
END $$;

-- Drops a retired day, with the keys and counts of what was in it. Returns how many tasks went.
CREATE FUNCTION bury_day(gone text, shard int) RETURNS bigint LANGUAGE plpgsql
SET enable_seqscan = on AS $$
DECLARE went bigint;
BEGIN
  EXECUTE format('LOCK TABLE %I IN ACCESS EXCLUSIVE MODE', gone);
  EXECUTE format('INSERT INTO final_counts (namespace, queue, status, shard, tasks)
    SELECT namespace, queue, status, $1, -count(*) FROM %I
    GROUP BY namespace, queue, status ORDER BY namespace, queue, status
    ON CONFLICT (namespace, queue, status, shard)
    DO UPDATE SET tasks = final_counts.tasks + excluded.tasks', gone) USING shard;
  EXECUTE format('DELETE FROM idempotency_keys k USING %I t
    WHERE t.idempotency_key IS NOT NULL AND k.namespace = t.namespace AND k.queue = t.queue
      AND k.key = t.idempotency_key AND k.task_id = t.id', gone);
  EXECUTE format('SELECT count(*) FROM %I', gone) INTO went;
  EXECUTE format('DROP TABLE %I, %I', gone, replace(gone, 'tasks', 'attempts'));
  RETURN went;
END $$;
