CREATE TABLE batches (
  id uuid PRIMARY KEY,
  namespace text COLLATE "C" NOT NULL,
  created_at bigint NOT NULL,
  closed_at bigint,
  -- When it was first seen that all its tasks had ended.
  completed_at bigint,
  cancelled_at bigint,
  -- Something of it may be to come: it is open, or a task of it lives. Sweeps look at no other.
  watched boolean NOT NULL DEFAULT true,
  failure_threshold int NOT NULL CHECK (failure_threshold >= 1),
  -- What is asked, but for the payloads of its callbacks, which stand in base64 beside it.
  spec json NOT NULL,
  payloads json,
  -- Reason and grace.
  cancel json,
  -- By event: the task that was made, and when.
  called json NOT NULL DEFAULT '{}',
  -- Tasks whose rows were removed, by the status they had ended with.
  gone_completed bigint NOT NULL DEFAULT 0,
  gone_failed bigint NOT NULL DEFAULT 0,
  gone_cancelled bigint NOT NULL DEFAULT 0,
  gone_expired bigint NOT NULL DEFAULT 0,
  CHECK (closed_at IS NOT NULL OR (completed_at IS NULL AND cancelled_at IS NULL)),
  CHECK (watched OR completed_at IS NOT NULL),
  CHECK ((cancelled_at IS NULL) = (cancel IS NULL))
) WITH (fillfactor = 80);

CREATE INDEX batches_by_namespace ON batches (namespace, id);
CREATE INDEX batches_watched ON batches (id) WHERE watched;
CREATE INDEX batches_over ON batches (completed_at) WHERE NOT watched;

-- Whether a task of a batch lives or failed is one look at it, however many tasks there are.
CREATE INDEX tasks_by_batch_status ON tasks (batch_id, status) WHERE batch_id IS NOT NULL;

-- How many tasks of each batch are in a table of tasks that is about to go, added to their batches.
CREATE FUNCTION count_gone(gone text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  EXECUTE format('UPDATE batches b SET gone_completed = gone_completed + g.completed,
      gone_failed = gone_failed + g.failed, gone_cancelled = gone_cancelled + g.cancelled,
      gone_expired = gone_expired + g.expired
    FROM (
      SELECT batch_id, count(*) FILTER (WHERE status = ''completed'') AS completed,
        count(*) FILTER (WHERE status = ''failed'') AS failed,
        count(*) FILTER (WHERE status = ''cancelled'') AS cancelled,
        count(*) FILTER (WHERE status = ''expired'') AS expired
      FROM %I WHERE batch_id IS NOT NULL GROUP BY batch_id ORDER BY batch_id
    ) g WHERE b.id = g.batch_id', gone);
END $$;

-- As in 0001. A day with tasks of a batch that is watched is kept whole: between the end of its
-- table and the count of what was in it the batch would seem to have fewer tasks, and a callback
-- could be called that is not due. Its rows go one by one, counted as they go.
CREATE OR REPLACE FUNCTION kept_of_day(day int, beyond bigint, bound int) RETURNS int
LANGUAGE plpgsql STABLE AS $$
DECLARE
  kept int;
  counted boolean;
BEGIN
  EXECUTE format('SELECT EXISTS (SELECT FROM batches b
      WHERE b.watched AND EXISTS (SELECT FROM %I t WHERE t.batch_id = b.id))',
    day_table('tasks', day)) INTO counted;
  IF counted THEN
    RETURN bound;
  END IF;
  EXECUTE format('SELECT count(*) FROM ((SELECT FROM %1$I WHERE ended_at IS NULL LIMIT $2)
      UNION ALL (SELECT FROM %1$I WHERE purge_at > $1 LIMIT $2)) AS kept',
    day_table('tasks', day)) INTO kept USING beyond, bound;
  RETURN kept;
END $$;

-- As in 0001, and what was in it is counted on by its batches.
CREATE OR REPLACE FUNCTION bury_day(gone text, shard int) RETURNS bigint LANGUAGE plpgsql
SET enable_seqscan = on AS $$
DECLARE went bigint;
BEGIN
  EXECUTE format('LOCK TABLE %I IN ACCESS EXCLUSIVE MODE', gone);
  EXECUTE format('INSERT INTO final_counts (namespace, queue, status, shard, tasks)
    SELECT namespace, queue, status, $1, -count(*) FROM %I
    GROUP BY namespace, queue, status ORDER BY namespace, queue, status
    ON CONFLICT (namespace, queue, status, shard)
    DO UPDATE SET tasks = final_counts.tasks + excluded.tasks', gone) USING shard;
  PERFORM count_gone(gone);
  EXECUTE format('DELETE FROM idempotency_keys k USING %I t
    WHERE t.idempotency_key IS NOT NULL AND k.namespace = t.namespace AND k.queue = t.queue
      AND k.key = t.idempotency_key AND k.task_id = t.id', gone);
  EXECUTE format('SELECT count(*) FROM %I', gone) INTO went;
  EXECUTE format('DROP TABLE %I, %I', gone, replace(gone, 'tasks', 'attempts'));
  RETURN went;
END $$;
