-- What an index costs a write is a place in it: of a task that completes, one for its kind (queue,
-- type and status) serves what three did, each for one of these words. Lists look up the kinds
-- there are, and walk each; few namespaces have more than some dozens.
DROP INDEX tasks_by_status;
DROP INDEX tasks_by_queue;
DROP INDEX tasks_by_type;
DROP INDEX tasks_live;
CREATE INDEX tasks_by_kind ON tasks (namespace, queue, type, status, id);
-- The dead letters and the like are few among many, whatever their kind.
CREATE INDEX tasks_by_status ON tasks (namespace, status, id)
  WHERE status IN ('failed', 'cancelled', 'expired');
CREATE INDEX tasks_live ON tasks (id) INCLUDE (slot, namespace) WHERE ended_at IS NULL;

DROP FUNCTION walk_status(text, text, uuid, uuid, task_filter, int, int);
DROP FUNCTION walk_queue(text, text, uuid, uuid, task_filter, int, int);
DROP FUNCTION walk_type(text, text, uuid, uuid, task_filter, int, int);

-- As the walks of migration 0003. walk_ids goes down the ids of all namespaces, where a namespace
-- has more kinds than can be walked.
DO $do$
DECLARE
  walk record;
BEGIN
  FOR walk IN SELECT * FROM (VALUES
    ('status', 't.namespace, t.status, t.id', 'of_namespace, words[1], ',
      't.status IN (''failed'', ''cancelled'', ''expired'')'),
    ('kind', 't.namespace, t.queue, t.type, t.status, t.id',
      'of_namespace, words[1], words[2], words[3], ', 'true'),
    ('ids', 't.id', '', 'true')
  ) AS walks (name, key, words, held) LOOP
    EXECUTE replace(replace(replace(replace(replace($fn$
      CREATE FUNCTION walk_{name}(of_namespace text, words text[], above uuid, below uuid,
        f task_filter, page int, bound int,
        OUT ids uuid[], OUT seen int, OUT last uuid, OUT stopped boolean)
      LANGUAGE plpgsql STABLE
      SET enable_sort = off SET enable_incremental_sort = off AS $$
      DECLARE
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
          WHERE ({key}) < ({words}below) AND ({key}) >= ({words}above)
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
      END $$$fn$, '{name}', walk.name), '{key}', walk.key), '{words}', walk.words),
      '{held}', walk.held), '{order}', replace(walk.key, ', t.', ' DESC, t.'));
  END LOOP;
END $do$;

-- The kinds of a namespace with one of the statuses, of the filter's queue and type, one array
-- each; up to `most` of them. Jumps from one to the next: what it reads does not grow with the
-- tasks.
CREATE FUNCTION kinds_of(of_namespace text, f task_filter, statuses text[], most int)
RETURNS SETOF text[] LANGUAGE plpgsql STABLE
SET enable_sort = off SET enable_incremental_sort = off AS $$
DECLARE
  -- Above all names.
  top text := chr(1114111);
  at_queue text := coalesce(f.queue, '');
  at_type text := coalesce(f.type, '');
  at_status text := '';
  next record;
  kinds int := 0;
BEGIN
  WHILE kinds < most LOOP
    SELECT t.queue, t.type, t.status INTO next FROM tasks t
    WHERE (t.namespace, t.queue, t.type, t.status) > (of_namespace, at_queue, at_type, at_status)
      AND t.namespace <= of_namespace
    ORDER BY t.namespace, t.queue, t.type, t.status LIMIT 1;
    EXIT WHEN next IS NULL OR next.queue <> f.queue;
    at_queue := next.queue;
    at_type := next.type;
    at_status := next.status;
    IF next.type < f.type THEN
      at_type := f.type;
      at_status := '';
    ELSIF next.type > f.type THEN
      at_type := top;
    ELSIF next.status = ANY (statuses) THEN
      kinds := kinds + 1;
      RETURN NEXT ARRAY[next.queue, next.type, next.status];
    END IF;
  END LOOP;
END $$;

-- Which walks find all that fit: one for each word of an index for a rare thing, otherwise one for
-- each kind. Calls of an earlier version name the walks 'queue' and 'type'.
CREATE FUNCTION ways_of(of_namespace text, walk text, words text[], f task_filter)
RETURNS TABLE (way text, way_words text[]) LANGUAGE plpgsql STABLE AS $$
DECLARE
  most int := 200;
  ended text[] := '{failed,cancelled,expired}';
  statuses text[] := CASE walk WHEN 'status' THEN words
    ELSE '{blocked,scheduled,pending,running,retrying,completed}' || ended END;
  rest text[];
  kinds text[][];
BEGIN
  IF walk IN ('error', 'schedule', 'batch') THEN
    RETURN QUERY SELECT walk, ARRAY[u.word] FROM unnest(words) AS u (word);
    RETURN;
  END IF;
  rest := CASE WHEN f.queue IS NULL AND f.type IS NULL
    THEN ARRAY(SELECT u.word FROM unnest(statuses) AS u (word) WHERE u.word <> ALL (ended))
    ELSE statuses END;
  IF cardinality(rest) > 0 THEN
    kinds := ARRAY(SELECT kinds_of(of_namespace, f, rest, most + 1));
  END IF;
  IF coalesce(array_length(kinds, 1), 0) > most AND NOT statuses <@ ended THEN
    RETURN QUERY SELECT 'ids', NULL::text[];
    RETURN;
  END IF;
  RETURN QUERY SELECT 'status', ARRAY[u.word] FROM unnest(statuses) AS u (word)
    WHERE u.word <> ALL (rest) OR array_length(kinds, 1) > most;
  RETURN QUERY SELECT 'kind', ARRAY[kinds[n][1], kinds[n][2], kinds[n][3]]
    FROM generate_subscripts(kinds, 1) AS n
    WHERE array_length(kinds, 1) <= most;
END $$;

-- As in migration 0003, but that a call looks at no more than `bound` tasks in all, and that a walk
-- ends where those before it have filled the page.
CREATE OR REPLACE FUNCTION scan_tasks(of_namespace text, walk text, words text[], above uuid,
  below uuid, filter json, page int, bound int, OUT ids uuid[], OUT scanned int, OUT reached uuid)
LANGUAGE plpgsql STABLE AS $$
DECLARE
  f task_filter := json_populate_record(NULL::task_filter, filter);
  low uuid := above;
  budget int := bound;
  share int;
  one record;
  part record;
BEGIN
  ids := '{}';
  scanned := 0;
  -- Mostly the newest tasks of all are what is asked for.
  IF bound > 4 * (page + 1) AND 'completed' = ANY (words) THEN
    part := walk_ids(of_namespace, words, above, below, f, page, 4 * (page + 1));
    scanned := part.seen;
    budget := bound - part.seen;
    IF NOT part.stopped OR cardinality(part.ids) > page THEN
      ids := part.ids;
      reached := CASE WHEN part.stopped THEN part.last END;
      RETURN;
    END IF;
  END IF;
  FOR one IN SELECT w.*, count(*) OVER () AS ways FROM ways_of(of_namespace, walk, words, f) AS w
  LOOP
    share := greatest(1, budget / one.ways);
    CASE one.way
      WHEN 'error' THEN
        part := walk_error(of_namespace, one.way_words[1], low, below, f, page, share);
      WHEN 'schedule' THEN
        part := walk_schedule(of_namespace, one.way_words[1], low, below, f, page, share);
      WHEN 'batch' THEN
        part := walk_batch(of_namespace, one.way_words[1], low, below, f, page, share);
      WHEN 'status' THEN
        part := walk_status(of_namespace, one.way_words, low, below, f, page, share);
      WHEN 'kind' THEN
        part := walk_kind(of_namespace, one.way_words, low, below, f, page, share);
      ELSE
        part := walk_ids(of_namespace, one.way_words, low, below, f, page, share);
    END CASE;
    ids := ids || part.ids;
    scanned := scanned + part.seen;
    IF part.stopped THEN
      reached := greatest(reached, part.last);
    END IF;
    IF cardinality(ids) > page THEN
      ids := ARRAY(SELECT u.id FROM unnest(ids) AS u (id) ORDER BY u.id DESC LIMIT page + 1);
      low := ids[page + 1];
    END IF;
  END LOOP;
END $$;
