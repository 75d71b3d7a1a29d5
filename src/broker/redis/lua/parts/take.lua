-- Needs base, record, book, shelf, grant. The lease decision, shared by lease.lua and the eager
-- half of enqueue.lua.
--
-- `run` is the state of one call: sessions with room, bytes left, tokens to give, what was granted.
local ranges = {}
for level = 0, 3 do
  ranges[level] = { digits(level * LEVEL), '(' .. digits((level + 1) * LEVEL) }
end

local function find_sessions(list, now)
  local found, lost = {}, {}
  for i, s in ipairs(list) do
    local row = call('HMGET', K .. 's:' .. s.id, 'g', 'w')
    if row[1] and tonumber(row[1]) == s.generation and is_live(s.id, now) then
      s.worker = row[2]
      found[#found + 1] = s
    else
      lost[#lost + 1] = i - 1
    end
  end
  return found, lost
end

local function new_run(sessions, max_bytes, seen, secrets, now)
  local room = 0
  for _, s in ipairs(sessions) do room = room + s.slots end
  local state = call('HMGET', META, 'fc', 'epoch')
  local base = tonumber(state[2] or 0) * FENCING_UNIT
  return {
    sessions = sessions, at = 1, now = now, bytes = max_bytes,
    room = math.min(room, LEASE_BATCH, #secrets / 8),
    counter = math.max(tonumber(state[1] or 0), base, seen), secrets = secrets, used = 0,
    out = {}, store = {}, queues = {}, barren = {}, ghosts = 0,
  }
end

-- The next session with room; for a quarantined task one that holds no other of its lane.
local function pick_session(run, quarantined, lane)
  for step = 0, #run.sessions - 1 do
    local at = (run.at + step - 1) % #run.sessions + 1
    local s = run.sessions[at]
    local fits = s.slots > 0
    if fits and quarantined then fits = call('HEXISTS', K .. 'z:' .. s.id, lane) == 0 end
    if fits then
      run.at = at + 1
      return s
    end
  end
  return nil
end

-- False when the reply is full: its first lease always fits.
local function give(run, id, rec, t, s)
  local apart = false
  local bytes = #rec
  if has(t, PAYLOAD_APART) then bytes = bytes + call('STRLEN', K .. 'p:' .. id) end
  if #run.out > 0 and bytes > run.bytes then
    run.full = true
    return false
  end
  if has(t, PAYLOAD_APART) then apart = call('GET', K .. 'p:' .. id) end
  run.bytes = run.bytes - bytes
  run.counter = run.counter + 1
  run.used = run.used + 1
  local secret = string.sub(run.secrets, run.used * 8 - 7, run.used * 8)
  local after = grant(id, rec, t, s, struct.pack('>d', run.counter) .. secret, run.now)
  run.store[#run.store + 1] = record_key(id)
  run.store[#run.store + 1] = after
  run.out[#run.out + 1] = { s.index, id, after, apart }
  s.slots = s.slots - 1
  run.room = run.room - 1
  if run.room <= 0 then run.full = true end
  return true
end

-- The header of a task that stands ready, or nil for a ghost. One whose time is over is a ghost
-- too: a sweep finds it in `ex`.
local function pending(rec, now)
  if not rec then return nil end
  local t = parse(rec)
  if t[STATUS] ~= PENDING or is_over(t, now) then return nil end
  return t
end

-- The next ready task of a flow: id, record, header. Ids read stay in the set until `close_flow`;
-- ghosts go with them, so many at most in one call.
local function next_of(run, flow)
  while run.ghosts < LEASE_GHOSTS do
    flow.at = flow.at + 1
    if flow.at > #flow.ids then
      local ids = call('ZRANGE', flow.key, #flow.ids, #flow.ids + flow.chunk - 1)
      if #ids == 0 then return nil end
      local keys = {}
      for i, id in ipairs(ids) do
        flow.ids[#flow.ids + 1] = id
        keys[i] = record_key(id)
      end
      for _, rec in ipairs(call('MGET', unpack(keys))) do flow.recs[#flow.recs + 1] = rec end
    end
    local id, rec = flow.ids[flow.at], flow.recs[flow.at]
    local t = pending(rec, run.now)
    if t then return id, rec, t end
    flow.gone[#flow.gone + 1] = id
    run.ghosts = run.ghosts + 1
  end
  run.full = true
end

local function close_flow(lane, level, flow)
  if #flow.gone > 0 then call_sliced('ZREM', flow.key, flow.gone) end
  if call('EXISTS', flow.key) == 0 then
    drop_reference(lane.id, flow.ref, flow.tag)
  elseif flow.tag ~= flow.first_tag then
    call('ZADD', lane.key, level * LEVEL + flow.tag, flow.ref)
  end
end

local function read_flows(lane, level, limit, want)
  local from, to = unpack(ranges[level])
  local flat = call('ZRANGEBYSCORE', lane.key, from, to, 'WITHSCORES', 'LIMIT', 0, limit)
  local flows = {}
  for i = 1, #flat, 2 do
    local tag = flat[i + 1] - level * LEVEL
    flows[#flows + 1] = {
      ref = flat[i], key = flow_key(lane.id, flat[i]), tag = tag, first_tag = tag,
      at = 0, ids = {}, recs = {}, gone = {}, chunk = math.ceil(want / (#flat / 2)),
    }
  end
  return flows
end

-- Goes back among the flows by its new tag, so that none above it is served first.
local function insert_sorted(flows, flow)
  local at = #flows + 1
  while at > 1 and flows[at - 1].tag > flow.tag do at = at - 1 end
  table.insert(flows, at, flow)
end

-- One grant from a flow. Answers 'served', 'empty', 'skip' (no session may have it) or 'full'.
local function serve_flow(run, lane, flow)
  local id, rec, t = next_of(run, flow)
  if not id then return 'empty' end
  local s = pick_session(run, is_quarantine(flow.ref), lane.id)
  if not s then return 'skip' end
  if not give(run, id, rec, t, s) then return 'full' end
  flow.gone[#flow.gone + 1] = id
  return 'served'
end

local function serve_flows(run, lane, level, flows, want, skipped)
  local got, touched, clock = 0, {}, clock_of(lane.id)
  while #flows > 0 and got < want and not run.full do
    local flow = table.remove(flows, 1)
    if not flow.touched then
      flow.touched = true
      touched[#touched + 1] = flow
    end
    local fate = serve_flow(run, lane, flow)
    if fate == 'served' then
      got = got + 1
      if flow.tag > clock.v[level] then
        clock.v[level] = flow.tag
        clock.changed['v' .. level] = flow.tag
      end
      flow.tag = flow.tag + GROUP_STRIDE
      insert_sorted(flows, flow)
    elseif fate == 'skip' then
      skipped.n = skipped.n + 1
    end
  end
  for _, flow in ipairs(touched) do close_flow(lane, level, flow) end
  return got, #touched
end

-- Up to `want` grants from one level of a lane.
local function take(run, lane, level, want)
  local got, skipped = 0, { n = 0 }
  while got < want and not run.full do
    local asked = want - got + skipped.n
    local flows = read_flows(lane, level, asked, want - got)
    local found, before = #flows, skipped.n
    if found == 0 then break end
    skipped.n = 0
    local now_got = serve_flows(run, lane, level, flows, want - got, skipped)
    got = got + now_got
    if found < asked or (now_got == 0 and skipped.n <= before and found <= skipped.n) then break end
  end
  return got
end

local function has_work(lane, level)
  return call('ZCOUNT', lane.key, ranges[level][1], ranges[level][2]) > 0
end

-- Every 16th grant of a queue: one from below the level being served, from a boundary that rotates.
local function take_below(run, queue, level)
  local below = 3 - level
  if below == 0 or run.barren[queue.id .. ':' .. level] then return 0 end
  local start = math.floor(queue.served / STARVATION_EVERY) % below
  for step = 0, below - 1 do
    local lower = level + 1 + (start + step) % below
    for _, lane in ipairs(queue.lanes) do
      if take(run, lane, lower, 1) == 1 then return 1 end
    end
  end
  if not run.full then run.barren[queue.id .. ':' .. level] = true end
  return 0
end

local function take_fairly(run, lane, level, want)
  local queue, got = lane.queue, 0
  while got < want and not run.full do
    local left = STARVATION_EVERY - 1 - queue.served % STARVATION_EVERY
    local asked = math.min(want - got, math.max(left, 1))
    local taken
    -- The starvation grant only goes below while there is work here; otherwise this level is done
    -- anyway.
    if left == 0 and has_work(lane, level) then
      taken = take_below(run, queue, level)
      if taken == 0 then taken = take(run, lane, level, 1) end
    else
      taken = take(run, lane, level, asked)
    end
    queue.served = queue.served + taken
    got = got + taken
    if taken < asked then break end
  end
  return got
end

-- Lanes of the request that exist, have work and are not paused.
local function find_lanes(run, names)
  local lanes = {}
  if #names == 0 then return lanes end
  for i, found in ipairs(call('HMGET', K .. 'lid', unpack(names))) do
    local id, queue_id = string.match(found or '', '^(%d+):(%d+)$')
    local key = id and lane_key(id)
    if key and call('EXISTS', key) == 1 then
      local queue = run.queues[queue_id]
      if not queue then
        local row = call('HMGET', K .. 'q:' .. queue_id, 'paused', 'served')
        queue = { id = queue_id, paused = row[1] == '1', served = tonumber(row[2] or 0) }
        queue.before, queue.lanes = queue.served, {}
        run.queues[queue_id] = queue
      end
      if not queue.paused then
        local lane = { id = tonumber(id), name = names[i], key = key, queue = queue }
        lanes[#lanes + 1] = lane
        queue.lanes[#queue.lanes + 1] = lane
      end
    end
  end
  return lanes
end

local function serve_level(run, lanes, level)
  local busy = {}
  for _, lane in ipairs(lanes) do
    if has_work(lane, level) then busy[#busy + 1] = lane end
  end
  local share = #busy > 0 and math.ceil(run.room / #busy) or 0
  for _, lane in ipairs(busy) do
    if not run.full then take_fairly(run, lane, level, math.min(share, run.room)) end
  end
  for _, lane in ipairs(busy) do
    if not run.full then take_fairly(run, lane, level, run.room) end
  end
end

-- Serves the lanes, writes what was granted. Answers whether work is left that only credit kept
-- back.
local function serve(run, names)
  local lanes = find_lanes(run, names)
  if run.room <= 0 then run.full = true end
  for level = 0, 3 do
    if #lanes == 0 or run.full then break end
    serve_level(run, lanes, level)
  end
  if #run.store > 0 then
    call('MSET', unpack(run.store))
    call('HSET', META, 'fc', digits(run.counter))
  end
  for id, queue in pairs(run.queues) do
    if queue.served ~= queue.before then
      call('HSET', K .. 'q:' .. id, 'served', digits(queue.served))
    end
  end
  local more = false
  for _, lane in ipairs(lanes) do
    local empty = call('EXISTS', lane.key) == 0
    if empty then call('SREM', K .. 'ne', lane.id) end
    if run.full and not empty then
      more = true
      woken[lane.id] = lane.queue.id
    else
      woken[lane.id] = nil
      call('DEL', K .. 'mk:' .. lane.name)
    end
  end
  return more
end
