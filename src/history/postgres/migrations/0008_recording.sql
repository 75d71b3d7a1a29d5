-- What coordinators send in one parameter: a whole task, and what a transition changes of one.
-- Their attributes are never changed, because coordinators of two versions may be at work; another
-- column of tasks means a new type beside these.
CREATE TYPE whole_task AS (
  id uuid, version bigint, fencing_token bigint, created_at bigint, ready_at bigint,
  started_at bigint, completed_at bigint, cancel_requested_at bigint, retention_ms bigint, run int,
  attempt int, retry_count int, lease_losses int, releases int, slot smallint, priority smallint,
  status text, namespace text, queue text, type text, session_id text, worker_id text,
  idempotency_key text, tags text[], spec json, error json, progress json, payload_type text,
  payload bytea, result_type text, result bytea, batch_id uuid, schedule text, extra json
);

-- Written to a row whose version is below `above`. The attempt is one that this change ended or
-- began; without a number there is none.
CREATE TYPE task_change AS (
  id uuid, above bigint, version bigint, fencing_token bigint, ready_at bigint, started_at bigint,
  completed_at bigint, cancel_requested_at bigint, run int, attempt int, retry_count int,
  lease_losses int, releases int, priority smallint, status text, session_id text, worker_id text,
  error json, progress json, result_type text, result bytea, extra json, attempt_started_at bigint,
  attempt_ended_at bigint, attempt_outcome text, attempt_error json
);

-- Rows stand about in the order of their ends, so ranges of blocks are enough to find the last of
-- them; and unlike a tree they cost a write next to nothing.
DROP INDEX tasks_ended;
CREATE INDEX tasks_ended ON tasks USING brin (ended_at) WITH (autosummarize = on);
