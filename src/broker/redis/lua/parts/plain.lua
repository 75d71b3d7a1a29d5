-- Needs base, record, book, shelf, grant. The same steps for the most common task: its first
-- attempt, ungrouped, without terms or trouble, which completes. They read and write only the
-- fields that change, where the others unpack all into a table; whatever differs in any way is left
-- to those.
local PLAIN_ITEM = '>xI2c16BxBBxxxxxxxxxxxxxxxxxI4c0'
local PLAIN_RECORD = '>BBBBI4I4'
local GRANT = '>BBBBI4I4I6I7I4I4Bdc8I6I6I6I2I4I4'
-- From STARTED on: that, CANCEL, TAIL_BYTES, TIMEOUT, EXPIRE, DEADLINE, HEARTBEAT.
local WAIT = '>I6xxxxxxI6xxxxxxI4xxxxxxxxxxxxxxxxxxI4I6I6I4'
local STARTED_AT = 51
local RUNS = '>xBBBI4I4xxxxxxI7xxxxxxxxxc16xxxxxxxxxxxxI6xxxxxxxxxxI2'
-- Of settle.lua's items: kind, id, token, place of the session, result or error, next, delay.
local SETTLE_ITEM = '>Bc16c16I2I4c0Bd'
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

-- The same of a record; nil as well unless it is ready.
local function plain_timeout(rec)
  local status, flags = string.byte(rec, 2, 3)
  return status == PENDING and is_free(flags, STARTED_AT, rec) or nil
end

-- The record after the grant. Joined by `..`, as struct.pack copies long strings byte by byte.
local function grant_plain(id, rec, s, counter, secret, now, timeout)
  local a, _, flags, priority, lane, queue, order, birth, version, attempt =
    read('>BBBBI4I4I6I7I4I4', rec)
  hold_plain(id, s.id, now + timeout)
  return pack(GRANT, a, RUNNING, band(flags, AFTER_GRANT), priority, lane, queue, order, birth,
    version + 1, attempt + 1, 0, counter, secret, now, 0, 0, 0, 0, #s.tail) ..
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

-- How settle.lua notes that it did so, with IN_OUTBOX.
local completed_by = '\129'

-- Tells history that this task completed: its record as it was before, and the result. The first
-- byte says so: COMPLETE of settle.lua, and 64.
local completes = { [0] = '\65\0', '\65\1' }
local function tell_completed(id, rec, flags, data)
  local n = #told
  told[n + 1], told[n + 2] = completes[flags % 2] .. id .. data, rec
  told_bytes = told_bytes + #rec + #data + 128
  if band(flags, RELAXED) ~= 0 then news[#news + 1] = id end
  return n / 2
end
