-- What a row costs the server grows with the rules that are read anew for every statement, and with
-- every place in an index. The rules of migration 0001 in one; rows that stand obey them.
DO $$
DECLARE
  rule text;
BEGIN
  FOR rule IN SELECT conname FROM pg_constraint
    WHERE conrelid = 'tasks'::regclass AND contype = 'c'
  LOOP
    EXECUTE format('ALTER TABLE tasks DROP CONSTRAINT %I', rule);
  END LOOP;
END $$;
ALTER TABLE tasks ADD CONSTRAINT tasks_rules CHECK (
  version >= 1 AND fencing_token >= 0 AND retention_ms >= 0 AND run >= 1 AND attempt >= 0
  AND retry_count >= 0 AND lease_losses >= 0 AND releases >= 0
  AND slot BETWEEN 0 AND 4095 AND priority BETWEEN 0 AND 3
  AND CASE WHEN ended_at IS NULL
    THEN purge_at IS NULL AND status IN ('pending', 'running', 'scheduled', 'retrying', 'blocked')
    ELSE purge_at IS NOT NULL AND status IN ('completed', 'failed', 'cancelled', 'expired') END
) NOT VALID;

-- One for what was two: tasks_kept of migration 0012 is its second column.
DROP INDEX tasks_kept;
DROP INDEX tasks_ended;
CREATE INDEX tasks_ended ON tasks USING brin (ended_at, purge_at) WITH (autosummarize = on);

-- A number to compare instead of a text: 16 bits for the namespace, 20 for the queue, 19 for the
-- type, 8 for the status, so that all kinds of a namespace, of a queue, of a type in a queue stand
-- together. Kinds of one number are walked as one, and each task is still judged by its own
-- columns.
CREATE FUNCTION kind_number(namespace text, queue text, type text, status text) RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN ((hashtext(namespace) & 65535)::bigint << 47) | ((hashtext(queue) & 1048575)::bigint << 27)
  | ((hashtext(type) & 524287) << 8) | (hashtext(status) & 255);

DROP INDEX tasks_by_kind;
CREATE INDEX tasks_by_kind ON tasks (kind_number(namespace, queue, type, status), id);

-- As in migration 0013, down that index. The word is the number.
CREATE OR REPLACE FUNCTION walk_kind(of_namespace text, words text[], above uuid, below uuid,
  f task_filter, page int, bound int,
  OUT ids uuid[], OUT seen int, OUT last uuid, OUT stopped boolean)
LANGUAGE plpgsql STABLE
SET enable_sort = off SET enable_incremental_sort = off AS $$
DECLARE
  kind bigint := words[1];
  one record;
BEGIN
  ids := '{}';
  seen := 0;
  FOR one IN SELECT t.id, (t.namespace = of_namespace
      AND (f.statuses IS NULL OR CASE
        WHEN t.status IN ('scheduled', 'retrying') AND t.ready_at <= now_ms() THEN 'pending'
        ELSE t.status END = ANY (f.statuses))
      AND (f.type IS NULL OR t.type = f.type)
      AND (f.queue IS NULL OR t.queue = f.queue)
      AND (f.tag IS NULL OR t.tags @> ARRAY[f.tag])
      AND (f.batch_id IS NULL OR t.batch_id = f.batch_id)
      AND (f.schedule IS NULL OR t.schedule = f.schedule)
      AND (f.created_after IS NULL OR t.created_at >= f.created_after)
      AND (f.created_before IS NULL OR t.created_at < f.created_before)
      AND (f.error_code IS NULL OR error_word(t.error, 'code') = f.error_code)
      AND (f.said IS NULL OR says(t.error, f.said))) AS fits
    FROM tasks t
    WHERE (kind_number(t.namespace, t.queue, t.type, t.status), t.id) < (kind, below)
      AND (kind_number(t.namespace, t.queue, t.type, t.status), t.id) >= (kind, above)
      AND t.id < below AND t.id >= above
    ORDER BY kind_number(t.namespace, t.queue, t.type, t.status) DESC, t.id DESC LIMIT bound
  LOOP
    seen := seen + 1;
    last := one.id;
    IF one.fits THEN
      ids := ids || one.id;
      EXIT WHEN cardinality(ids) > page;
    END IF;
  END LOOP;
  stopped := seen = bound OR cardinality(ids) > page;
END $$;

-- As in migration 0013, but that what is found is told by its number.
CREATE OR REPLACE FUNCTION kinds_of(of_namespace text, f task_filter, statuses text[], most int)
RETURNS SETOF text[] LANGUAGE plpgsql STABLE
SET enable_sort = off SET enable_incremental_sort = off AS $$
DECLARE
  -- Numbers of a queue, and of a type in it.
  queue_span bigint := 1 << 27;
  type_span int := 1 << 8;
  span bigint := CASE WHEN f.queue IS NULL THEN 1::bigint << 47
    WHEN f.type IS NULL THEN queue_span ELSE type_span END;
  first bigint := kind_number(of_namespace, coalesce(f.queue, ''), coalesce(f.type, ''), '');
  ends bigint;
  type_at bigint := CASE WHEN f.queue IS NULL
    THEN kind_number('', '', f.type, '') % queue_span / type_span * type_span END;
  numbers int[] := ARRAY(SELECT hashtext(u.word) & 255 FROM unnest(statuses) AS u (word));
  reached bigint;
  next bigint;
  kinds int := 0;
BEGIN
  first := first / span * span;
  reached := first - 1;
  ends := first + (span - 1);
  WHILE kinds < most LOOP
    SELECT kind_number(t.namespace, t.queue, t.type, t.status) INTO next FROM tasks t
    WHERE kind_number(t.namespace, t.queue, t.type, t.status) > reached
      AND kind_number(t.namespace, t.queue, t.type, t.status) <= ends
    ORDER BY kind_number(t.namespace, t.queue, t.type, t.status) LIMIT 1;
    EXIT WHEN next IS NULL;
    reached := next;
    IF next % queue_span / type_span * type_span <> type_at THEN
      -- To that type in this queue, or to the next queue.
      reached := next / queue_span * queue_span + type_at - 1;
      IF reached < next THEN
        reached := next / queue_span * queue_span + (queue_span - 1);
      END IF;
    ELSIF next % type_span = ANY (numbers) THEN
      kinds := kinds + 1;
      RETURN NEXT ARRAY[next::text];
    END IF;
  END LOOP;
END $$;

DROP FUNCTION kind_key(text, text, text, text);
