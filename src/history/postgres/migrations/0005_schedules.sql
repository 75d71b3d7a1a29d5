CREATE TABLE schedules (
  namespace text COLLATE "C" NOT NULL,
  name text COLLATE "C" NOT NULL,
  version bigint NOT NULL CHECK (version >= 1),
  revision bigint NOT NULL CHECK (revision >= version),
  created_at bigint NOT NULL,
  updated_at bigint NOT NULL,
  -- When it is to be looked at next; null while it is paused, and once it is over.
  due_at bigint,
  -- Ticks up to here, itself included, are dealt with.
  last_tick bigint NOT NULL,
  paused boolean NOT NULL,
  note text NOT NULL,
  -- What is asked, but for the payload: timing, policies, and the task of each tick.
  spec json NOT NULL,
  -- Ticks that wait, counts, the last tick taken.
  state json NOT NULL,
  payload_type text,
  payload bytea,
  PRIMARY KEY (namespace, name),
  CHECK (NOT paused OR due_at IS NULL)
) WITH (fillfactor = 70);

CREATE INDEX schedules_due ON schedules (due_at) WHERE due_at IS NOT NULL;

-- A tick is its schedule and its time: at most one task can ever come of it.
CREATE TABLE schedule_ticks (
  namespace text COLLATE "C" NOT NULL,
  schedule text COLLATE "C" NOT NULL,
  tick_at bigint NOT NULL,
  recorded_at bigint NOT NULL,
  task_id uuid,
  outcome text COLLATE "C" NOT NULL
    CHECK (outcome IN ('taken', 'skipped', 'waiting', 'refused')),
  cause text COLLATE "C" NOT NULL CHECK (cause IN ('timing', 'trigger', 'backfill')),
  error text NOT NULL,
  PRIMARY KEY (namespace, schedule, tick_at),
  CHECK ((task_id IS NOT NULL) = (outcome = 'taken'))
);
CREATE INDEX schedule_ticks_age ON schedule_ticks (recorded_at);

-- Whether an earlier tick's task lives.
CREATE INDEX tasks_live_by_schedule ON tasks (namespace, schedule, id)
  WHERE schedule IS NOT NULL AND ended_at IS NULL;
