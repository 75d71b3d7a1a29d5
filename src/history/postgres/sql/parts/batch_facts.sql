-- A few steps in an index each, however many tasks there are; failures are counted up to the
-- threshold, until that is of no more use. No EXISTS, which a plan may turn into one look at all
-- tasks.
  (SELECT true FROM tasks t WHERE t.batch_id = b.id
    AND t.status IN ('blocked', 'scheduled', 'pending', 'running', 'retrying') LIMIT 1)
    IS NOT NULL AS live,
  b.gone_failed + b.gone_cancelled + b.gone_expired > 0
    OR (SELECT true FROM tasks t WHERE t.batch_id = b.id
      AND t.status IN ('failed', 'cancelled', 'expired') LIMIT 1) IS NOT NULL AS unsuccessful,
  b.gone_failed + b.gone_expired + (SELECT count(*) FROM (
    SELECT FROM tasks t WHERE t.batch_id = b.id AND t.status IN ('failed', 'expired')
    LIMIT CASE WHEN b.called ->> 'failure' IS NULL THEN b.failure_threshold ELSE 0 END) AS failed)
    AS failures
