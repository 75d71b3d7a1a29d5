-- Defaults by type of task.
ALTER TABLE queues ADD COLUMN types json;

-- A word of an error; null where it holds what Postgres cannot show as text.
CREATE FUNCTION error_word(error json, word text) RETURNS text
LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
  RETURN error ->> word;
EXCEPTION WHEN data_exception THEN
  RETURN NULL;
END $$;

-- For those that failed at least once: others do not pay for it.
CREATE INDEX tasks_by_error ON tasks (namespace, error_word(error, 'code'), id)
  WHERE error IS NOT NULL;

-- Only A to Z are folded, as the memory history does it.
CREATE FUNCTION says(error json, wanted text) RETURNS boolean LANGUAGE sql IMMUTABLE
  RETURN strpos(lower(error_word(error, 'message') COLLATE "C"), lower(wanted COLLATE "C")) > 0
    OR strpos(lower(error_word(error, 'code') COLLATE "C"), lower(wanted COLLATE "C")) > 0;

-- Which tasks a list means; null matches all. Names are those of the json it is read from.
CREATE TYPE task_filter AS (statuses text[], type text, queue text, tag text, error_code text,
  batch_id uuid, schedule text, said text, created_after bigint, created_before bigint);

-- One function for each index that lists: walk_status, walk_queue and so on. A walk goes down its
-- index and gathers what fits: at most one more than `page`, among at most `bound` rows. Its bounds
-- and order name all columns of the index, and a sort is out of question, so no plan, whatever the
-- statistics, walks the ids of all tasks or gathers all that match. `stopped`: there may be more
-- below `last`.
DO $do$
DECLARE
  walk record;
BEGIN
  FOR walk IN SELECT * FROM (VALUES
    ('status', 't.namespace, t.status, t.id', 'of_namespace, word', 'true'),
    ('queue', 't.namespace, t.queue, t.id', 'of_namespace, word', 'true'),
    ('type', 't.namespace, t.type, t.id', 'of_namespace, word', 'true'),
    ('error', 't.namespace, error_word(t.error, ''code''), t.id', 'of_namespace, word',
      't.error IS NOT NULL'),
    ('schedule', 't.namespace, t.schedule, t.id', 'of_namespace, word', 't.schedule IS NOT NULL'),
    ('batch', 't.batch_id, t.id', 'word::uuid',
      't.batch_id IS NOT NULL AND t.namespace = of_namespace')
  ) AS walks (name, key, word, held) LOOP
    EXECUTE replace(replace(replace(replace(replace($fn$
      CREATE FUNCTION walk_{name}(of_namespace text, word text, above uuid, below uuid,
        f task_filter, page int, bound int,
        OUT ids uuid[], OUT seen int, OUT last uuid, OUT stopped boolean)
      LANGUAGE plpgsql STABLE
      SET enable_sort = off SET enable_incremental_sort = off AS $$
      DECLARE
        one record;
      BEGIN
        ids := '{}';
        seen := 0;
        FOR one IN SELECT t.id, (
            (f.statuses IS NULL OR CASE
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
          WHERE ({key}) < ({word}, below) AND ({key}) >= ({word}, above)
            AND t.id < below AND t.id >= above AND {held}
          ORDER BY {order} DESC LIMIT bound
        LOOP
          seen := seen + 1;
          last := one.id;
          IF one.fits THEN
            ids := ids || one.id;
            EXIT WHEN cardinality(ids) > page;
          END IF;
        END LOOP;
        stopped := seen = bound OR cardinality(ids) > page;
      END $$$fn$, '{name}', walk.name), '{key}', walk.key), '{word}', walk.word),
      '{held}', walk.held), '{order}', replace(walk.key, ', t.', ' DESC, t.'));
  END LOOP;
END $do$;

-- Ids of up to `bound` tasks with a tag, in no order. IS TRUE keeps the other bounds from the
-- planner: only the index of tags may serve.
CREATE FUNCTION ids_by_tag(of_namespace text, of_tag text, above uuid, below uuid, bound int)
RETURNS SETOF uuid LANGUAGE plpgsql STABLE
SET enable_indexscan = off SET enable_indexonlyscan = off AS $$
BEGIN
  RETURN QUERY SELECT t.id FROM tasks t
    WHERE t.tags @> ARRAY[of_tag] AND (t.namespace = of_namespace) IS TRUE
      AND (t.id >= above AND t.id < below) IS TRUE
    LIMIT bound;
END $$;

-- The newest tasks that fit, and how far the search came. Several walks (one for each status) are
-- to be merged by the caller; each stops by itself, so the answer is complete only down to the
-- highest of their ends, `reached`. Null: there is nothing below.
CREATE FUNCTION scan_tasks(of_namespace text, walk text, words text[], above uuid, below uuid,
  filter json, page int, bound int, OUT ids uuid[], OUT scanned int, OUT reached uuid)
LANGUAGE plpgsql STABLE AS $$
DECLARE
  f task_filter := json_populate_record(NULL::task_filter, filter);
  word text;
  part record;
BEGIN
  ids := '{}';
  scanned := 0;
  FOREACH word IN ARRAY words LOOP
    CASE walk
      WHEN 'queue' THEN
        part := walk_queue(of_namespace, word, above, below, f, page, bound);
      WHEN 'type' THEN
        part := walk_type(of_namespace, word, above, below, f, page, bound);
      WHEN 'error' THEN
        part := walk_error(of_namespace, word, above, below, f, page, bound);
      WHEN 'schedule' THEN
        part := walk_schedule(of_namespace, word, above, below, f, page, bound);
      WHEN 'batch' THEN
        part := walk_batch(of_namespace, word, above, below, f, page, bound);
      ELSE
        part := walk_status(of_namespace, word, above, below, f, page, bound);
    END CASE;
    ids := ids || part.ids;
    scanned := scanned + part.seen;
    IF part.stopped THEN
      reached := greatest(reached, part.last);
    END IF;
  END LOOP;
END $$;

-- As scan_tasks, for tasks with a tag. A rare tag is looked up; one so common that there are more
-- than `bound` is met often enough on the way down.
CREATE FUNCTION scan_tagged(of_namespace text, words text[], above uuid, below uuid, filter json,
  page int, bound int, OUT ids uuid[], OUT scanned int, OUT reached uuid)
LANGUAGE plpgsql STABLE AS $$
DECLARE
  f task_filter := json_populate_record(NULL::task_filter, filter);
  tagged uuid[] := ARRAY(SELECT ids_by_tag(of_namespace, f.tag, above, below, bound + 1));
BEGIN
  IF cardinality(tagged) > bound THEN
    SELECT s.ids, s.scanned, s.reached INTO ids, scanned, reached
    FROM scan_tasks(of_namespace, 'status', words, above, below, filter, page, bound) AS s;
    RETURN;
  END IF;
  scanned := cardinality(tagged);
  SELECT array_agg(t.id) INTO ids FROM unnest(tagged) AS u (id) JOIN tasks t ON t.id = u.id
  WHERE (f.statuses IS NULL OR CASE
      WHEN t.status IN ('scheduled', 'retrying') AND t.ready_at <= now_ms() THEN 'pending'
      ELSE t.status END = ANY (f.statuses))
    AND (f.type IS NULL OR t.type = f.type)
    AND (f.queue IS NULL OR t.queue = f.queue)
    AND (f.created_after IS NULL OR t.created_at >= f.created_after)
    AND (f.created_before IS NULL OR t.created_at < f.created_before)
    AND (f.said IS NULL OR says(t.error, f.said));
END $$;

DROP FUNCTION ids_by_status(text, text[], text[], uuid, text, text, int);
DROP FUNCTION ids_by_queue(text, text, uuid, text, int);
DROP FUNCTION ids_by_type(text, text, uuid, int);
