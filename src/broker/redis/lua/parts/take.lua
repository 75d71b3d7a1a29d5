-- Needs base, record, book, shelf, grant, plain. The lease decision.
--
-- `run` is the state of one call: sessions with room, bytes left, tokens to give, what was granted.
local ranges
each_call(function()
  if ranges then return end
  ranges = {}
  for level = 0, 3 do
    ranges[level] = { digits(level * LEVEL), '(' .. digits((level + 1) * LEVEL) }
  end
end)

local function new_run(sessions, max_bytes, seen, secrets, now)
  local room = 0
  for _, s in ipairs(sessions) do
    room = room + s.slots
    prepare_session(s, now)
  end
  local base = own().epoch * FENCING_UNIT
  return {
    sessions = sessions, at = 1, now = now, bytes = max_bytes,
    room = math.min(room, LEASE_BATCH, #secrets / 8),
    counter = math.max(own().fencing, base, seen), secrets = secrets, used = 0, ghosts = 0,
    granted = {}, slices = {}, aparts = {}, store = {}, queues = {}, barren = {},
  }
end

-- The next session with room; for a quarantined task one that holds no other of its lane.
local function pick_session(run, quarantined, lane)
  local sessions = run.sessions
  for step = 0, #sessions - 1 do
    local at = (run.at + step - 1) % #sessions + 1
    local s = sessions[at]
    local fits = s.slots > 0
    if fits and quarantined then fits = call('HEXISTS', K .. 'z:' .. s.id, lane) == 0 end
    if fits then
      run.at = at + 1
      return s
    end
  end
  return nil
end

-- The record after the grant.
local function grant(id, rec, t, s, token, now)
  recount(t, t[STATUS], RUNNING)
  t[STATUS], t[VERSION], t[ATTEMPT] = RUNNING, t[VERSION] + 1, t[ATTEMPT] + 1
  t[FLAGS] = band(t[FLAGS], AFTER_GRANT)
  t[SETTLED_BY], t[TOKEN] = 0, token
  unwatch_wait(id, t)
  t[STARTED], t[CANCEL] = now, 0
  hold(id, t, s.id, attempt_end(t, now))
  if t[TAIL_BYTES] == 0 then return with_tail(rec, t, s.tail) end
  local x = tail_of(rec, t)
  x[1], x[2], x[4] = s.id, s.worker, ''
  return assemble(rec, t, x)
end

-- False when the reply is full: its first lease always fits. Without a header it is a plain one, of
-- which what plain_grant says is given.
local function give(run, id, key, rec, t, s, timeout, head, state)
  local bytes, is_apart = #rec, t and has(t, PAYLOAD_APART)
  if is_apart then bytes = bytes + call('STRLEN', K .. 'p:' .. id) end
  local has_more = t and has_checkpoint_apart(rec)
  if has_more then bytes = bytes + call('STRLEN', checkpoint_key(id)) end
  local used = run.used
  if used > 0 and bytes > run.bytes then
    run.full = true
    return false
  end
  run.bytes, run.used, run.counter = run.bytes - bytes, used + 1, run.counter + 1
  local secret = sub(run.secrets, used * 8 + 1, used * 8 + 8)
  local after
  if t then
    after = grant(id, rec, t, s, pack('>d', run.counter) .. secret, run.now)
  else
    granted[run.cell] = (granted[run.cell] or 0) + 1
    after = grant_plain(id, rec, s, run.counter, secret, timeout, head, state)
  end
  local n = #run.granted
  run.store[n + 1], run.store[n + 2] = key, after
  run.granted[n + 1], run.granted[n + 2] = id, has_more and whole(id, after) or after
  if is_apart then
    run.aparts[#run.aparts + 1] = n / 2
    run.aparts[#run.aparts + 1] = call('GET', K .. 'p:' .. id)
  end
  s.slots = s.slots - 1
  run.room = run.room - 1
  if run.room <= 0 then run.full = true end
  return true
end

-- In a block, as Lua allows only 200 locals at once.
local refs_of, take
do
  -- The next ready task of a flow: id, key, record, and its header, or of a plain one what
  -- plain_grant says. Ids read stay in the set until `close_flow`; ghosts go with them, so many at
  -- most in one call. One whose time is over is a ghost too: a sweep finds it in `ex`.
  local function next_of(run, flow)
    while run.ghosts < LEASE_GHOSTS do
      local at = flow.at + 1
      flow.at = at
      if at > #flow.ids then
        local seen = #flow.ids
        -- Where a bundle stands first it may be all that is asked for.
        local ids = flow.chunk >= BUNDLE_TASKS and call('ZRANGE', flow.key, seen, seen) or {}
        if not ids[1] or #ids[1] == 16 then
          ids = call('ZRANGE', flow.key, seen, seen + flow.chunk - 1)
        end
        if #ids == 0 then return nil end
        local recs, keys = {}, {}
        if #ids > 1 or #ids[1] == 16 then recs, keys = read_records(ids) end
        for i = 1, #ids do
          flow.ids[seen + i], flow.recs[seen + i], flow.keys[seen + i] = ids[i], recs[i], keys[i]
        end
      end
      local id, rec = flow.ids[at], flow.recs[at]
      if #id < 16 then return id end
      local timeout, head, state
      if rec then timeout, head, state = plain_grant(rec) end
      if timeout then return id, flow.keys[at], rec, nil, timeout, head, state end
      local t = rec and parse(rec)
      if t and t[STATUS] == PENDING and not is_over(t, run.now) then
        return id, flow.keys[at], rec, t
      end
      flow.gone[#flow.gone + 1] = id
      run.ghosts = run.ghosts + 1
    end
    run.full = true
  end

  local function close_flow(lane, level, flow)
    -- The first of them are all gone where none was passed over.
    if #flow.gone > 0 then
      if #flow.gone == math.min(flow.at, #flow.ids) then
        call('ZREMRANGEBYRANK', flow.key, 0, #flow.gone - 1)
      else
        call_sliced('ZREM', flow.key, flow.gone)
      end
    end
    local only, score = lane.refs, level * LEVEL + flow.tag
    if call('EXISTS', flow.key) == 0 then
      drop_reference(lane.id, flow.ref, flow.tag)
      score = nil
    elseif flow.tag ~= flow.first_tag then
      call('ZADD', lane.key, digits(score), flow.ref)
    end
    lane.refs = nil
    -- Nearly always its only one: what stands there now needs no look.
    if only and #only == 2 then
      lane.refs, lane.empty = score and { flow.ref, score } or {}, not score
    end
  end

  -- The references of a lane with few flows are read at once, for all levels.
  local FEW = 15
  function refs_of(lane)
    if lane.refs == nil then
      local flat = call('ZRANGE', lane.key, 0, FEW, 'WITHSCORES')
      lane.refs = #flat <= FEW * 2 and flat
      lane.empty = #flat == 0
    end
    return lane.refs
  end

  local function read_flows(lane, level, limit, want)
    local flat = refs_of(lane)
    if not flat then
      local from, to = unpack(ranges[level])
      flat = call('ZRANGEBYSCORE', lane.key, from, to, 'WITHSCORES', 'LIMIT', 0, limit)
    end
    local flows, lowest = {}, level * LEVEL
    for i = 1, #flat, 2 do
      local tag = flat[i + 1] - lowest
      if tag >= 0 and tag < LEVEL and #flows < limit then
        flows[#flows + 1] = {
          ref = flat[i], key = flow_key(lane.id, flat[i]), tag = tag, first_tag = tag,
          at = 0, ids = {}, recs = {}, keys = {}, gone = {},
        }
      end
    end
    for _, flow in ipairs(flows) do flow.chunk = math.ceil(want / #flows) end
    return flows
  end

  -- Goes back among the flows by its new tag, so that none above it is served first.
  local function insert_sorted(flows, flow)
    local at = #flows + 1
    while at > 1 and flows[at - 1].tag > flow.tag do at = at - 1 end
    table.insert(flows, at, flow)
  end

  -- One grant from a flow, or up to `most` where a bundle is next. Answers 'served', 'empty',
  -- 'skip' (no session may have it), 'nothing' or 'full', and how many.
  local function serve_flow(run, lane, flow, most)
    local id, key, rec, t, timeout, head, state = next_of(run, flow)
    if not id then return 'empty', 0 end
    local s = pick_session(run, flow.quarantined, lane.id)
    if not s then return 'skip', 0 end
    if #id < 16 then return bundle.serve(run, flow, id, s, most) end
    if not give(run, id, key, rec, t, s, timeout, head, state) then return 'full', 0 end
    flow.gone[#flow.gone + 1] = id
    return 'served', 1
  end

  -- Grants until another flow comes before this one.
  local function turns_of(flow, before, want)
    if not before then return want end
    return math.min(want, math.max(1, math.ceil((before.tag - flow.tag) / GROUP_STRIDE)))
  end

  local function serve_flows(run, lane, level, flows, want, skipped)
    local got, touched, clock = 0, {}, clock_of(lane.id)
    run.cell = lane.queue.id * 4 + 3 - level
    while #flows > 0 and got < want and not run.full do
      local flow = table.remove(flows, 1)
      if not flow.touched then
        flow.touched, flow.quarantined = true, is_quarantine(flow.ref)
        touched[#touched + 1] = flow
      end
      -- Again and again while it comes before the others.
      local fate, given, before = nil, nil, flows[1]
      repeat
        fate, given = serve_flow(run, lane, flow, turns_of(flow, before, want - got))
        if given > 0 then
          got, flow.tag = got + given, flow.tag + GROUP_STRIDE * given
          clock.v[level] = math.max(clock.v[level], flow.tag - GROUP_STRIDE)
        end
      until fate ~= 'served' or got >= want or run.full or (before and before.tag <= flow.tag)
      if fate == 'served' then
        insert_sorted(flows, flow)
      elseif fate == 'skip' then
        skipped.n = skipped.n + 1
      end
    end
    if got > 0 then clock.changed['v' .. level] = clock.v[level] end
    for _, flow in ipairs(touched) do close_flow(lane, level, flow) end
    return got
  end

  -- Up to `want` grants from one level of a lane.
  function take(run, lane, level, want)
    local got, skipped = 0, { n = 0 }
    while got < want and not run.full do
      local asked = want - got + skipped.n
      local flows = read_flows(lane, level, asked, want - got)
      local found, before = #flows, skipped.n
      if found == 0 then break end
      skipped.n = 0
      local now_got = serve_flows(run, lane, level, flows, want - got, skipped)
      got = got + now_got
      local no_more = now_got == 0 and skipped.n <= before and found <= skipped.n
      if found < asked or no_more then break end
    end
    return got
  end
end

local function has_work(lane, level)
  local flat = refs_of(lane)
  if not flat then return call('ZCOUNT', lane.key, ranges[level][1], ranges[level][2]) > 0 end
  for i = 2, #flat, 2 do
    local tag = flat[i] - level * LEVEL
    if tag >= 0 and tag < LEVEL then return true end
  end
  return false
end

-- Every 16th grant of a queue comes from below the level being served, from a boundary that
-- rotates.
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

-- Whether a grant from below is ever due: not while all of the queue's work is at this level.
local function has_work_below(queue, level)
  for lower = level + 1, 3 do
    for _, lane in ipairs(queue.lanes) do
      if has_work(lane, lower) then return true end
    end
  end
  return false
end

local function take_fairly(run, lane, level, want)
  local queue, got = lane.queue, 0
  while got < want and not run.full do
    local left = STARVATION_EVERY - 1 - queue.served % STARVATION_EVERY
    local asked = math.min(want - got, math.max(left, 1))
    local taken
    if not has_work_below(queue, level) then
      asked = want - got
      taken = take(run, lane, level, asked)
    -- The starvation grant only goes below while there is work here; otherwise this level is done
    -- anyway.
    elseif left == 0 and has_work(lane, level) then
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
    local lane = id and { id = tonumber(id), name = names[i], key = lane_key(id) }
    if lane then refs_of(lane) end
    if lane and not lane.empty then
      local queue = run.queues[queue_id]
      if not queue then
        local row = call('HMGET', queue_key(queue_id), 'paused', 'served')
        queue = { id = queue_id, paused = row[1] == '1', served = tonumber(row[2] or 0) }
        queue.before, queue.lanes = queue.served, {}
        run.queues[queue_id] = queue
      end
      if not queue.paused then
        lane.queue = queue
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
  count_plain()
  bundle.close()
  if #run.store > 0 then call('MSET', unpack(run.store)) end
  if run.used > 0 then
    own().fencing, own().granted = run.counter, true
  end
  for id, queue in pairs(run.queues) do
    if queue.served ~= queue.before then
      call('HSET', queue_key(id), 'served', digits(queue.served))
    end
  end
  local more = false
  for _, lane in ipairs(lanes) do
    refs_of(lane)
    local empty = lane.empty
    if empty then call('SREM', K .. 'ne', lane.id) end
    woken[lane.id] = nil
    if run.full and not empty then
      more = true
      call('ZADD', K .. 'mk:' .. lane.name, 0, '1')
    else
      call('DEL', K .. 'mk:' .. lane.name)
    end
  end
  return more
end
