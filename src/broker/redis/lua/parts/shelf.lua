-- Needs base, record, book. Where a waiting task stands: in a flow of its lane, or among the
-- delayed.
--
-- A flow holds the ready tasks of one group (or the ungrouped ones, or the quarantined ones) at one
-- level, level 0 being priority 3: a sorted set by ORDER, the lane's sequence at enqueue, so a task
-- that comes back keeps its place. The lane is a sorted set of references to its flows that are not
-- empty: score = level * 2^51 + tag. Start-time fair queueing decides the tags: V is the tag last
-- served at the level; a flow that fills gets max(V, F), and F = tag + stride when it is served. 51
-- bits of tag last 7 years at 10,000 grants a second in one lane.
local LEVEL = 2251799813685248
local clocks, shelved, plain_shelves
each_call(function() clocks, shelved, plain_shelves = {}, {}, {} end)

local function lane_key(lane) return K .. 'L:' .. lane end

-- The lane's clocks: v per level, n the sequence.
local function clock_of(lane)
  local c = clocks[lane]
  if c then return c end
  local row = call('HMGET', clock_key(lane), 'v0', 'v1', 'v2', 'v3', 'n')
  c = { v = {}, n = tonumber(row[5] or 0), changed = {} }
  for level = 0, 3 do c.v[level] = tonumber(row[level + 1] or 0) end
  clocks[lane] = c
  return c
end

local function next_sequence(lane)
  local c = clock_of(lane)
  c.n = c.n + 1
  c.changed.n = c.n
  return c.n
end

-- The name of a task's flow is its reference in the lane: level, kind, group.
local function flow_of(rec, t)
  local level = 3 - t[PRIORITY]
  if has(t, QUARANTINE) then return level .. 'q' end
  if t[GROUP_BYTES] == 0 then return level .. 'u' end
  return level .. 'g' .. group_of(rec, t)
end

local function is_quarantine(ref) return string.sub(ref, 2, 2) == 'q' end
local function flow_key(lane, ref) return K .. 'W:' .. lane .. ':' .. ref end
local function finish_key(lane, ref) return K .. 'F:' .. lane .. ':' .. ref end

local function ensure_reference(lane, level, ref)
  local key = lane_key(lane)
  if call('ZSCORE', key, ref) then return end
  local tag = math.max(clock_of(lane).v[level], tonumber(call('GET', finish_key(lane, ref)) or 0))
  call('ZADD', key, digits(level * LEVEL + tag), ref)
  call('SADD', K .. 'ne', lane)
end

-- What this script puts into a flow.
local function shelf_of(lane, level, ref)
  local key = flow_key(lane, ref)
  local list = shelved[key]
  if list then return list end
  list = {}
  shelved[key] = list
  ensure_reference(lane, level, ref)
  return list
end

-- A waiting task that must end by some time stands in `ex` as well. The others pay two comparisons.
local function watch_wait(id, t)
  if t[EXPIRE] == 0 and t[DEADLINE] == 0 then return end
  local at = wait_end(t)
  if at > 0 then call('ZADD', K .. 'ex', at, id) end
end

local function unwatch_wait(id, t)
  if t[EXPIRE] > 0 or t[DEADLINE] > 0 or t[CANCEL] > 0 then call('ZREM', K .. 'ex', id) end
end

local function put_plain(id, lane, queue, priority, order)
  local level = 3 - priority
  local cell = lane * 4 + level
  local list = plain_shelves[cell]
  if not list then
    list = shelf_of(lane, level, level .. 'u')
    plain_shelves[cell] = list
  end
  local n = #list
  list[n + 1], list[n + 2] = order, id
  woken[lane] = queue
end

-- May be leased from now on.
local function put_ready(id, rec, t)
  watch_wait(id, t)
  local lane, level = t[LANE], 3 - t[PRIORITY]
  if t[GROUP_BYTES] == 0 and not has(t, QUARANTINE) then
    return put_plain(id, lane, t[QUEUE], t[PRIORITY], t[ORDER])
  end
  local list = shelf_of(lane, level, flow_of(rec, t))
  list[#list + 1] = t[ORDER]
  list[#list + 1] = id
  woken[lane] = t[QUEUE]
end

local function put_delayed(id, t, at)
  watch_wait(id, t)
  t[READY] = at
  call('ZADD', K .. 'd', at, id)
end

-- The flow has run empty: its finish tag is kept while the others of the lane could be overtaken by
-- its return.
local function drop_reference(lane, ref, tag)
  call('ZREM', lane_key(lane), ref)
  if call('EXISTS', lane_key(lane)) == 0 then return end
  call('SET', finish_key(lane, ref), digits(tag), 'PX', GROUP_FINISH_MS)
end

-- Writes what put_ready gathered: before any read of a lane, and at the end.
local function close_shelves()
  for key, list in pairs(shelved) do add_sorted(key, list) end
  shelved, plain_shelves = {}, {}
  for lane, c in pairs(clocks) do
    local row = {}
    for field, value in pairs(c.changed) do
      row[#row + 1], row[#row + 2] = field, digits(value)
    end
    if #row > 0 then call('HSET', clock_key(lane), unpack(row)) end
    c.changed = {}
  end
end

-- Takes a waiting task from wherever it stands.
local function unshelve(id, rec, t)
  unwatch_wait(id, t)
  if t[STATUS] ~= PENDING then
    call('ZREM', K .. 'd', id)
    return
  end
  close_shelves()
  local lane, ref = t[LANE], flow_of(rec, t)
  call('ZREM', flow_key(lane, ref), id)
  local score = call('ZSCORE', lane_key(lane), ref)
  if score and call('EXISTS', flow_key(lane, ref)) == 0 then
    drop_reference(lane, ref, score - (3 - t[PRIORITY]) * LEVEL)
  end
  if call('EXISTS', lane_key(lane)) == 0 then call('SREM', K .. 'ne', lane) end
end

-- Due tasks become ready. Returns how many.
local function promote_due(now, limit)
  local ids = call('ZRANGEBYSCORE', K .. 'd', '-inf', digits(now), 'LIMIT', 0, limit)
  if #ids == 0 then return 0 end
  local recs, keys = read_records(ids)
  local promoted = 0
  for i, id in ipairs(ids) do
    local rec = recs[i]
    local t = rec and parse(rec)
    if t and (t[STATUS] == SCHEDULED or t[STATUS] == RETRYING) then
      recount(t, t[STATUS], PENDING)
      t[STATUS], t[VERSION] = PENDING, t[VERSION] + 1
      put_ready(id, rec, t)
      news[#news + 1] = id
      call('SETRANGE', keys[i], 0, head_of(t))
      promoted = promoted + 1
    end
  end
  call('ZREM', K .. 'd', unpack(ids))
  return promoted
end
