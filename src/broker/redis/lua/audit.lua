#!lua flags=no-writes
-- Compares what the partition holds with itself, a slice a call, so that each answer is of one
-- moment and none takes long.
-- KEYS  1 start of the partition's keys
-- ARGV  1 'tasks', then ids: do they stand where their records say?
--       1 'members'  2 key without its start, then ids: do they belong there?
--       1 'references'  2 lane number, then references: do their flows hold tasks?
--       1 'times', then times that ids carry: are there the bundles that they name?
--       1 'keys', then keys without their start: does what they belong to exist?
--       1 'queue'  2 queue number  3 most flows: counts and what is to be counted
--       1 'totals'  2 most queues: the same over all queues
-- Returns { id, status, expected, found } per wrong task; ids that do not belong; references to
--       nothing; times that name what is not there; keys without owner; for 'queue' { name, fields
--       of the counts, waiting by level or nothing where the flows are too many, live tasks by
--       lanes }; for 'totals' { delayed, running, delayed by counts, running by counts } or nothing
--       where the queues or sessions are too many
-- @include base
-- @include record
-- @include book
-- @include shelf
-- @include grant
-- @include plain
-- @include bundle
-- @include directory
local function is_delayed(t) return t[STATUS] == SCHEDULED or t[STATUS] == RETRYING end
local function is_waiting(t) return is_delayed(t) or t[STATUS] == PENDING end
-- Past its time: leases take it out of their way, the next sweep ends it.
local function is_set_aside(t) return t[STATUS] == PENDING and is_over(t, now_ms()) end

local function expected_of(rec, t)
  local places = {}
  if is_delayed(t) then places[1] = 'delayed' end
  if t[STATUS] == PENDING then places[1] = 'ready' end
  if t[STATUS] == RUNNING then places = { 'running', 'held' } end
  if is_waiting(t) and (wait_end(t) > 0 or t[CANCEL] > 0) then places[#places + 1] = 'timed' end
  if has(t, PAYLOAD_APART) then places[#places + 1] = 'payload' end
  if has(t, RESULT_APART) then places[#places + 1] = 'result' end
  if has_checkpoint_apart(rec) then places[#places + 1] = 'checkpoint' end
  return table.concat(places, ',')
end

local function found_of(id, rec, t)
  local places = {}
  local function note(yes, place)
    if yes then places[#places + 1] = place end
  end
  local session = session_of(rec, t)
  note(call('ZSCORE', K .. 'd', id), 'delayed')
  note(is_set_aside(t) or call('ZSCORE', flow_key(t[LANE], flow_of(rec, t)), id), 'ready')
  local ends = session ~= '' and call('ZSCORE', K .. 'sh:' .. session, id)
  local looked_for = ends and call('ZSCORE', K .. 'dl', session)
  note(looked_for and tonumber(looked_for) <= tonumber(ends), 'running')
  note(ends, 'held')
  note(call('ZSCORE', K .. 'ex', id), 'timed')
  note(call('EXISTS', K .. 'p:' .. id) == 1, 'payload')
  note(call('EXISTS', K .. 'r:' .. id) == 1, 'result')
  note(call('EXISTS', checkpoint_key(id)) == 1, 'checkpoint')
  return table.concat(places, ',')
end

local function wrong_tasks()
  local wrong = {}
  for i = 2, #ARGV do
    local id = ARGV[i]
    local rec = call('GET', record_key(id))
    if rec then
      local t = parse(rec)
      local expected, found = expected_of(rec, t), found_of(id, rec, t)
      if expected ~= found then wrong[#wrong + 1] = { id, t[STATUS], expected, found } end
    end
  end
  return wrong
end

local function belongs(name, rec)
  local t = parse(rec)
  if name == 'd' then return is_delayed(t) end
  if name == 'ex' then return is_waiting(t) and (wait_end(t) > 0 or t[CANCEL] > 0) end
  if name == 'cd' then return t[STATUS] == RUNNING and t[CANCEL] > 0 end
  if string.sub(name, 1, 2) == 'W:' then
    return t[STATUS] == PENDING and flow_key(t[LANE], flow_of(rec, t)) == K .. name
  end
  return t[STATUS] == RUNNING and 'sh:' .. session_of(rec, t) == name
end

local function ghosts(name)
  local out = {}
  for i = 3, #ARGV do
    local id = ARGV[i]
    local there = call('ZSCORE', K .. name, id)
    if #id < 16 then
      if there and not bundle.is_member(id, K .. name) then out[#out + 1] = id end
    else
      local rec = there and call('GET', record_key(id))
      if there and not (rec and belongs(name, rec)) then out[#out + 1] = id end
    end
  end
  return out
end

local function empty_references(lane)
  local out = {}
  for i = 3, #ARGV do
    local ref = ARGV[i]
    if call('ZSCORE', lane_key(lane), ref) and call('EXISTS', flow_key(lane, ref)) == 0 then
      out[#out + 1] = ref
    end
  end
  return out
end

local function stray_times()
  local out = {}
  for i = 2, #ARGV do
    if not bundle.are_there(ARGV[i]) then out[#out + 1] = ARGV[i] end
  end
  return out
end

local function knows_session(session)
  if call('ZSCORE', K .. 'sl', session) then return true end
  return call('SISMEMBER', K .. 'lv', session) == 1
end

local function is_listed(lane)
  return call('SISMEMBER', K .. 'ne', lane) == 1 and call('HEXISTS', K .. 'ln', lane) == 1
end

local owners = {
  b = function(name) return bundle.is_whole(name) end,
  i = function(name) return bundle.of(name) end,
  p = function(id) return call('EXISTS', record_key(id)) == 1 end,
  h = function(id) return call('EXISTS', record_key(id)) == 1 end,
  r = function(id) return call('EXISTS', record_key(id)) == 1 end,
  s = function(session)
    return knows_session(session) or call('PTTL', K .. 's:' .. session) >= 0
  end,
  sh = knows_session,
  z = knows_session,
  v = function(lane) return call('HEXISTS', K .. 'ln', lane) == 1 end,
  L = is_listed,
  W = function(flow)
    local lane, ref = string.match(flow, '^(%d+):(.*)$')
    return lane and call('ZSCORE', lane_key(lane), ref)
  end,
  c = function(queue) return call('HEXISTS', K .. 'qn', queue) == 1 end,
  ll = function(queue) return call('HEXISTS', K .. 'qn', queue) == 1 end,
}

local function orphans()
  local out = {}
  for i = 2, #ARGV do
    local kind, rest = string.match(ARGV[i], '^(%a+):(.*)$')
    local owner = owners[kind]
    if call('EXISTS', K .. ARGV[i]) == 1 and not (owner and owner(rest)) then
      out[#out + 1] = ARGV[i]
    end
  end
  return out
end

local function waiting_of(lanes, most)
  local flows, waiting = 0, { 0, 0, 0, 0 }
  for i = 1, #lanes, 2 do flows = flows + call('ZCARD', lane_key(lanes[i])) end
  if flows > most then return {} end
  for i = 1, #lanes, 2 do
    local beyond = call('HMGET', clock_key(lanes[i]), 'b0', 'b1', 'b2', 'b3')
    for level = 1, 4 do waiting[level] = waiting[level] + tonumber(beyond[level] or 0) end
    for _, ref in ipairs(call('ZRANGE', lane_key(lanes[i]), 0, -1)) do
      local level = tonumber(string.sub(ref, 1, 1)) + 1
      waiting[level] = waiting[level] + call('ZCARD', flow_key(lanes[i], ref))
    end
  end
  return waiting
end

local function queue_of(queue, most)
  local name = call('HGET', K .. 'qn', queue)
  if not name then return {} end
  local lanes, live = call('HGETALL', K .. 'll:' .. queue), 0
  for i = 1, #lanes, 2 do live = live + tonumber(call('HGET', clock_key(lanes[i]), 'live') or 0) end
  return { name, counts_of(queue), waiting_of(lanes, most), digits(live) }
end

-- Leases, by the sessions that hold them.
local function held_by_all()
  local held = 0
  for _, list in ipairs({ call('ZRANGE', K .. 'sl', 0, -1), call('SMEMBERS', K .. 'lv') }) do
    for _, session in ipairs(list) do
      for _, member in ipairs(call('ZRANGE', held_key(session), 0, -1)) do
        held = held + (#member < 16 and bundle.running(member) or 1)
      end
    end
  end
  return held
end

local function totals(most)
  local sessions = call('ZCARD', K .. 'sl') + call('SCARD', K .. 'lv')
  if call('HLEN', K .. 'qn') > most or sessions > most then return {} end
  local by_status = { 0, 0, 0, 0 }
  for _, queue in ipairs(call('HKEYS', K .. 'qn')) do
    local fields = counts_of(queue)
    for i = 1, #fields, 2 do
      local status = tonumber(string.match(fields[i], ':(%d+)$'))
      if by_status[status] then
        by_status[status] = by_status[status] + tonumber(fields[i + 1])
      end
    end
  end
  local delayed = by_status[SCHEDULED] + by_status[RETRYING]
  return { call('ZCARD', K .. 'd'), held_by_all(), digits(delayed), digits(by_status[RUNNING]) }
end

local what = ARGV[1]
if what == 'tasks' then return wrong_tasks() end
if what == 'members' then return ghosts(ARGV[2]) end
if what == 'references' then return empty_references(ARGV[2]) end
if what == 'times' then return stray_times() end
if what == 'keys' then return orphans() end
if what == 'queue' then return queue_of(ARGV[2], tonumber(ARGV[3])) end
return totals(tonumber(ARGV[2]))
