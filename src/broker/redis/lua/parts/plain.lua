-- Needs base, record, book, shelf, grant. The same steps for the most common task: its first
-- attempt, ungrouped, without terms or trouble, which completes. They read and write only the
-- fields that change, where the others unpack all into a table; whatever differs in any way is left
-- to those.
local PLAIN_ITEM = '>xI2c16BxBBxxxxxxxxxxxxxxxxxI4c0'
local PLAIN_RECORD = '>BBBBI4I4'
local GRANT = '>BBBBI4I4I6I7I4I4Bdc8I6I6I6I2I4I4'
-- From STARTED on: that, CANCEL, TAIL_BYTES, TIMEOUT, EXPIRE, DEADLINE, HEARTBEAT.
local WAIT = '>I6xxxxxxI6xxxxxxI4xxxxxxxxxxxxxxxxxxI4I6I6I4'
local BEFORE = '>I4I4xxxxxxxxxxxxxxxxxI6xxxxxxI6xxxxxxI4'
local LIMITS = '>xxxxxxxxxxxxxxxxxxI4I6I6I4'
local RUNS = '>xBBBI4I4xxxxxxI7xxxxxxxxxc16xxxxxxxxxxxxI6xxxxxxxxxxI2'
-- Of settle.lua's items: kind, id, token, place of the session, result or error, next, delay.
local SETTLE_ITEM = '>Bc16c16I2I4c0Bd'
local SETTLE_RUN = '>BI2I2dc8I4c0'
local NONE = '\0\0\0\0\0\0\0\0\0\0\0\0'

-- How many of these a call moved, by queue and priority.
local granted, completed
each_call(function() granted, completed = {}, {} end)

local function count_plain()
  for cell, n in pairs(granted) do
    local priority = cell % 4
    count((cell - priority) / 4, priority, PENDING, -n)
    count((cell - priority) / 4, priority, RUNNING, n)
  end
  for cell, n in pairs(completed) do
    local priority = cell % 4
    count((cell - priority) / 4, priority, RUNNING, -n)
  end
  granted, completed = {}, {}
end

-- How long it may run once granted; nil unless it was never granted and is free to run at any time.
-- `at`: where the time of its start stands.
local function is_free(flags, at, packed)
  if band(flags, QUARANTINE + PAYLOAD_APART) ~= 0 then return nil end
  local started, cancel, tail, timeout, expire, deadline, heartbeat = read(WAIT, packed, at)
  if started + cancel + tail + expire + deadline + heartbeat > 0 then return nil end
  return timeout
end

-- How long it may run once granted, and two parts of its header then; nil unless it is ready, was
-- never granted and is free to run at any time. In a block, as Lua allows only 200 locals at once.
local plain_grant
do
  -- Most tasks of a call have these parts of a header in common: what was found out of the first
  -- that has them holds for the others. False: they make no plain task.
  local heads, states, terms
  each_call(function() heads, states, terms = {}, {}, {} end)

  -- From the record's version to its queue, as it is once granted.
  local function head_granted(head)
    local a, status, flags = string.byte(head, 1, 3)
    local after = false
    if status == PENDING and band(flags, QUARANTINE + PAYLOAD_APART) == 0 then
      after = string.char(a, RUNNING, band(flags, AFTER_GRANT)) .. sub(head, 4)
    end
    heads[head] = after
    return after
  end

  -- From the task's version to the length of the tail: once granted, up to how it was settled.
  local function state_granted(state)
    local version, attempt, started, cancel, tail = read(BEFORE, state)
    local after = false
    if started + cancel + tail == 0 then after = pack('>I4I4B', version + 1, attempt + 1, 0) end
    states[state] = after
    return after
  end

  -- From the run to the heartbeat: how long it may run.
  local function timeout_of(about)
    local timeout, expire, deadline, heartbeat = read(LIMITS, about)
    terms[about] = expire + deadline + heartbeat == 0 and timeout
    return terms[about]
  end

  plain_grant = function(rec)
    local head, state, about = sub(rec, 1, 12), sub(rec, 26, 78), sub(rec, REST_AT, 116)
    local after, granted_state, timeout = heads[head], states[state], terms[about]
    if after == nil then after = head_granted(head) end
    if granted_state == nil then granted_state = state_granted(state) end
    if timeout == nil then timeout = timeout_of(about) end
    if after and granted_state and timeout then return timeout, after, granted_state end
  end
end

-- The tail of a record after its first grant to a session is the same for all.
local function fresh_tail(session, worker)
  return pack('>I4c0I4c0I4I4I4I4I4', #session, session, #worker, worker, 0, 0, 0, 0, 0)
end

-- What a call's grants to this session have in common: also the header from the start to the length
-- of the tail.
local function prepare_session(s, now)
  s.now, s.tail = now, fresh_tail(s.id, s.worker)
  s.begun = pack('>I6I6I6I2I4I4', now, 0, 0, 0, 0, #s.tail)
end

-- The record after the grant. Joined by `..`, as struct.pack copies long strings byte by byte, and
-- every string is hashed byte by byte.
local function grant_plain(id, rec, s, counter, secret, timeout, head, state)
  hold_plain(id, s.id, s.now + timeout)
  return head .. sub(rec, 13, 25) .. state .. pack('>d', counter) .. secret .. s.begun ..
    sub(rec, REST_AT) .. s.tail
end

-- The flags and the run of a running attempt that completes, and nothing else is to be done for
-- it, with its priority, lane and queue; nil where the plain way is none. Its record needs no
-- change, as nothing of it stays: the outbox is told of it as it was before, with the result.
local function plain_end(rec, token, session, data)
  local status, flags, priority, lane, queue, birth, held_by, cancel, run = read(RUNS, rec)
  if status ~= RUNNING or held_by ~= token or cancel > 0 then return nil end
  if band(flags, QUARANTINE + LOST + PAYLOAD_APART) ~= 0 or #data > INLINE_BYTES then return nil end
  local spec_bytes, payload_bytes = read('>I4I2', rec, SIZES_AT)
  if read('>I4c0', rec, HEAD_BYTES + spec_bytes + payload_bytes + 1) ~= session then return nil end
  -- Neither a result nor what stands behind it.
  if sub(rec, -12) ~= NONE then return nil end
  if birth > 0 and flags % 2 == 0 and is_born(birth) then flags = flags + IN_HISTORY end
  return flags, run, priority, lane, queue
end

local function complete_plain(rec, token, session, data)
  local flags, run, priority, lane, queue = plain_end(rec, token, session, data)
  if not flags then return nil end
  local cell = queue * 4 + priority
  completed[cell] = (completed[cell] or 0) + 1
  live[lane] = (live[lane] or 0) - 1
  return flags, run
end

-- Tells history that this task completed: its record as it was before, and the result. The first
-- byte says so: COMPLETE of settle.lua, and 64.
local completes = { [0] = '\65\0', '\65\1' }
local function tell_completed(id, rec, flags, data)
  local n = #told
  told[n + 1], told[n + 2] = completes[flags % 2] .. id .. data, rec
  told_bytes = told_bytes + #rec + #data + 128
  if band(flags, RELAXED) ~= 0 then news[#news + 1] = id end
  return n / 2 + bundle.more
end
