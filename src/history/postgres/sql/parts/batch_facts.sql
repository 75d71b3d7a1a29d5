-- A few steps in an index each, however many tasks there are. No EXISTS, which a plan may turn into
-- one look at all tasks.
  (SELECT true FROM tasks t WHERE t.batch_id = b.id
    AND t.status IN ('blocked', 'scheduled', 'pending', 'running', 'retrying') LIMIT 1)
    IS NOT NULL AS live,
  b.gone_failed + b.gone_cancelled + b.gone_expired > 0
    OR (SELECT true FROM tasks t WHERE t.batch_id = b.id
      AND t.status IN ('failed', 'cancelled', 'expired') LIMIT 1) IS NOT NULL AS unsuccessful,
  b.gone_failed + b.gone_expired + (SELECT count(*) FROM (
    SELECT FROM tasks t WHERE t.batch_id = b.id AND t.status IN ('failed', 'expired')
    LIMIT b.failure_threshold) AS failed) AS failures
