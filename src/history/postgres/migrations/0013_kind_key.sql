-- One text to compare instead of four: an entry costs half. Names hold no slash; if some did, two
-- kinds would be walked as one, and each task still be judged by its own columns.
CREATE FUNCTION kind_key(namespace text, queue text, type text, status text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN namespace || '/' || queue || '/' || type || '/' || status;

DROP INDEX tasks_by_kind;
CREATE INDEX tasks_by_kind ON tasks (kind_key(namespace, queue, type, status), id);

-- As in migration 0011, down that index.
CREATE OR REPLACE FUNCTION walk_kind(of_namespace text, words text[], above uuid, below uuid,
  f task_filter, page int, bound int,
  OUT ids uuid[], OUT seen int, OUT last uuid, OUT stopped boolean)
LANGUAGE plpgsql STABLE
SET enable_sort = off SET enable_incremental_sort = off AS $$
DECLARE
  kind text COLLATE "C" := kind_key(of_namespace, words[1], words[2], words[3]);
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
    WHERE (kind_key(t.namespace, t.queue, t.type, t.status), t.id) < (kind, below)
      AND (kind_key(t.namespace, t.queue, t.type, t.status), t.id) >= (kind, above)
      AND t.id < below AND t.id >= above
    ORDER BY kind_key(t.namespace, t.queue, t.type, t.status) DESC, t.id DESC LIMIT bound
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

-- As in migration 0011. All kinds that begin alike stand together: those of a namespace, of a
-- queue, of a type in a queue.
CREATE OR REPLACE FUNCTION kinds_of(of_namespace text, f task_filter, statuses text[], most int)
RETURNS SETOF text[] LANGUAGE plpgsql STABLE
SET enable_sort = off SET enable_incremental_sort = off AS $$
DECLARE
  -- Above all that names hold.
  top text := chr(1114111);
  -- Kinds above it are looked for, up to the end.
  reached text COLLATE "C" := of_namespace || '/' || coalesce(f.queue || '/', '');
  ends text COLLATE "C";
  wanted text COLLATE "C";
  next record;
  kinds int := 0;
BEGIN
  IF f.queue IS NOT NULL AND f.type IS NOT NULL THEN
    reached := reached || f.type || '/';
  END IF;
  ends := reached || top;
  WHILE kinds < most LOOP
    SELECT t.queue, t.type, t.status,
      kind_key(t.namespace, t.queue, t.type, t.status) AS key INTO next
    FROM tasks t
    WHERE kind_key(t.namespace, t.queue, t.type, t.status) > reached
      AND kind_key(t.namespace, t.queue, t.type, t.status) < ends
    ORDER BY kind_key(t.namespace, t.queue, t.type, t.status) LIMIT 1;
    EXIT WHEN next IS NULL;
    reached := next.key;
    IF next.type <> f.type THEN
      wanted := of_namespace || '/' || next.queue || '/' || f.type || '/';
      IF reached < wanted THEN
        reached := wanted;
      ELSE
        reached := of_namespace || '/' || next.queue || '/' || top;
      END IF;
    ELSIF next.status = ANY (statuses) THEN
      kinds := kinds + 1;
      RETURN NEXT ARRAY[next.queue, next.type, next.status];
    END IF;
  END LOOP;
END $$;
