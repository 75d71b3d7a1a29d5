-- Tables that hold tasks now, and those retired but not yet dropped. `aged`: rows in it that are
-- kept for seven days may be due.
SELECT c.relname AS name, i.inhparent IS NULL AS retired,
  c.relname !~ '_[0-9]{8}$'
    OR to_date(right(c.relname, 8), 'YYYYMMDD') - date '1970-01-01' <= today() - 7 AS aged
FROM pg_class c LEFT JOIN pg_inherits i ON i.inhrelid = c.oid AND i.inhparent = 'tasks'::regclass
WHERE c.relkind = 'r' AND c.relnamespace = (
    SELECT relnamespace FROM pg_class WHERE oid = 'tasks'::regclass)
  AND (i.inhparent IS NOT NULL OR c.relname ~ '^gone_tasks_[0-9]{8}$')
ORDER BY c.relname
