#!lua flags=allow-oom
-- One maintenance step: promotes what is due, offers leases that must end, arms the markers of
-- lanes with work.
-- KEYS  1 start of the partition's keys
-- ARGV  1 store id
-- Returns { promoted, time, ms to the next due task or -1, ms to the first end of a session's
--           lease or -1, outbox entries, age of the oldest, lost, left, timed out,
--           cancel overdue: each { id, record } per lease; ended while they waited: id, then as
--           settle.lua's accepted; the outbox entry of these }
-- @include base
-- @include record
-- @include tomb
-- @include book
-- @include shelf
-- @include grant
-- @include plain
-- @include bundle
-- @include directory
-- @include settle
-- @include session
local now = now_ms()
local store_id = ARGV[1]
local budget = SWEEP_BATCH

local last = call('HMGET', META, 'swept', 'swept_on', 'reap_at', 'timeout_at', 'swept_full', 'xb')
local swept, same_store = tonumber(last[1] or 0), last[2] == store_id
local reap_at, timeout_at = tonumber(last[3] or 0), tonumber(last[4] or 0)
local since = now - swept

-- What every sweep tells, whether it did the work or another coordinator just has.
local function reply(promoted, lost, left, timed_out, overdue, ended, entry)
  local due = call('ZRANGE', K .. 'd', 0, 0, 'WITHSCORES')[2]
  local oldest = call('XRANGE', K .. 'ob', '-', '+', 'COUNT', 1)[1]
  local age = oldest and now - select(3, read('>I4I2d', oldest[2][2])) or 0
  local ends = call('ZRANGE', K .. 'sl', 0, 0, 'WITHSCORES')[2]
  local due_in = due and math.ceil(math.max(0, due - now)) or -1
  local ends_in = ends and math.ceil(math.max(0, ends - now)) or -1
  return {
    promoted, digits(now), due_in, ends_in, own().owed, math.max(0, age),
    lost, left, timed_out, overdue, ended, entry,
  }
end

-- Full slices are gone on with at once, and so are sessions that died since.
local function has_news()
  local ends = tonumber(call('ZRANGE', K .. 'sl', 0, 0, 'WITHSCORES')[2] or 0)
  return last[5] == '1' or (ends > swept and ends <= now)
end
if same_store and since >= 0 and since < SWEEP_GUARD_MS and not has_news() then
  return reply(0, {}, {}, {}, {}, {}, '')
end

-- After a gap, a stepped clock or another store nobody had the chance to renew: a while of grace.
if not same_store or since < 0 or since > SWEEP_GAP_MS then
  reap_at, timeout_at = now + REAP_GRACE_MS, now + TIMEOUT_GRACE_MS
  call('HSET', META, 'reap_at', digits(reap_at), 'timeout_at', digits(timeout_at))
end
call('HSET', META, 'swept', digits(now), 'swept_on', store_id)

local lost, left, timed_out, overdue = {}, {}, {}, {}

-- What does not belong there leaves `key`.
local function offer(list, id, session, key)
  if #id < 16 then bundle.untie(sub(id, 1, 6)) end
  local rec = record_of(id)
  local t = rec and parse(rec)
  if t and t[STATUS] == RUNNING and (not session or session_of(rec, t) == session) then
    list[#list + 1] = { id, whole(id, rec) }
    budget = budget - 1
    return t
  end
  call('ZREM', key, id)
end

local function offer_held(list, session)
  local key = held_key(session)
  local ids = call('ZRANDMEMBER', key, budget)
  if bundle.untie_members(ids) then ids = call('ZRANDMEMBER', key, budget) end
  if #ids == 0 then return forget_session(session) end
  for _, id in ipairs(ids) do offer(list, id, session, key) end
end

local function due(key)
  local most = math.max(0, budget)
  return call('ZRANGEBYSCORE', key, '-inf', digits(now), 'LIMIT', 0, most)
end

-- The attempts of a session that must end, and when the next of them may have to.
local function offer_late(session)
  local key = held_key(session)
  bundle.untie_members(due(key))
  for _, id in ipairs(due(key)) do offer(timed_out, id, session, key) end
  local next_end = call('ZRANGE', key, 0, 0, 'WITHSCORES')[2]
  set_first_end(session, next_end)
end

for _, session in ipairs(call('SRANDMEMBER', K .. 'lv', SWEEP_BATCH)) do
  if budget > 0 then offer_held(left, session) end
end
if now >= reap_at then
  local dead = call('ZRANGEBYSCORE', K .. 'sl', '-inf', digits(now), 'LIMIT', 0, SWEEP_BATCH)
  for _, session in ipairs(dead) do
    if budget > 0 then offer_held(lost, session) end
  end
end
for _, id in ipairs(due(K .. 'cd')) do offer(overdue, id, nil, K .. 'cd') end
for _, session in ipairs(now >= timeout_at and due(K .. 'dl') or {}) do
  if budget > 0 then offer_late(session) end
end

-- How a waiting task ends whose time is over; nil: it is not.
local function fate_of(t, x)
  if t[CANCEL] > 0 then
    note_step(x, FORCED, now)
    return CANCELLED
  end
  local at = wait_end(t)
  if at == 0 or at > now then return nil end
  if at == t[DEADLINE] then
    x[3] = packed_error('deadline', 'it had not ended by its deadline')
    return t[STARTED] > 0 and FAILED or EXPIRED
  end
  x[3] = packed_error('expired', 'it had not started by its expire_at')
  return EXPIRED
end

local function is_waiting(t)
  return t[STATUS] == PENDING or t[STATUS] == SCHEDULED or t[STATUS] == RETRYING
end

local function end_waiting(id)
  local rec = record_of(id)
  local t = rec and parse(rec)
  local x = t and is_waiting(t) and tail_of(rec, t)
  local status = x and fate_of(t, x)
  if not status then
    call('ZREM', K .. 'ex', id)
    return nil
  end
  unshelve(id, rec, t)
  finish(t, status, now)
  t[READY] = 0
  clear(t, LOST)
  rec = assemble(rec, t, x)
  call('SET', record_key(id), rec)
  return { id, announce(id, rec, t, 0) }
end

-- Held back while history is behind, as promotions are: nothing leases them meanwhile.
local function end_overdue()
  local ended = {}
  if outbox_full() then return ended end
  for _, id in ipairs(due(K .. 'ex')) do
    ended[#ended + 1] = end_waiting(id)
    budget = budget - 1
  end
  return ended
end

local function arm_lanes()
  for _, lane in ipairs(call('SRANDMEMBER', K .. 'ne', WAKE_LANES)) do
    local name = call('HGET', K .. 'ln', lane)
    local place = name and call('HGET', K .. 'lid', name)
    local queue = place and string.match(place, ':(%d+)$')
    if not queue or call('EXISTS', lane_key(lane)) == 0 then
      call('SREM', K .. 'ne', lane)
    elseif call('HGET', queue_key(queue), 'paused') ~= '1' then
      call('ZADD', K .. 'mk:' .. name, 0, '1')
    end
  end
end

local ended = end_overdue()
local promoted = outbox_full() and 0 or promote_due(now, SWEEP_BATCH)
close_shelves()
local entry = close_books(now)
forget_tombs(now, tonumber(last[6] or nil))
arm_lanes()
local full = budget <= 0 or promoted >= SWEEP_BATCH
call('HSET', META, 'swept_full', full and '1' or '0')
return reply(promoted, lost, left, timed_out, overdue, ended, entry)
