-- Tables that hold tasks now, and those retired but not yet dropped.
SELECT c.relname AS name, i.inhparent IS NULL AS retired
FROM pg_class c LEFT JOIN pg_inherits i ON i.inhrelid = c.oid AND i.inhparent = 'tasks'::regclass
WHERE c.relkind = 'r' AND c.relnamespace = (
    SELECT relnamespace FROM pg_class WHERE oid = 'tasks'::regclass)
  AND (i.inhparent IS NOT NULL OR c.relname ~ '^gone_tasks_[0-9]{8}$')
ORDER BY c.relname
