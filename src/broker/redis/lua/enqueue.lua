#!lua
-- Takes tasks in (B1), and leases what came into empty lanes at once when asked to. Refused over
-- maxmemory.
-- KEYS  1 start of the partition's keys
-- ARGV  1 lanes, each: lane name, queue name, namespace  then lanes..., items count
--       then per item: id, record, payload apart or '', control, idempotency key
--       control: origin (0 submit, 1 restore), claims its key, lane index, run, time read before
--       history was then, for the eager half, as lease.lua's ARGV from 1; nothing without it
-- Returns { { outcome, outbox id or holder's id } per item, lease.lua's reply or nil }
-- @include base
-- @include record
-- @include book
-- @include shelf
-- @include grant
-- @include take
local now = now_ms()
local room, room_bytes = outbox_room()
local lanes, items, outcomes = {}, {}, {}
local at = 2
for i = 1, tonumber(ARGV[1]) do
  lanes[i] = { name = ARGV[at], queue = ARGV[at + 1], namespace = ARGV[at + 2] }
  at = at + 3
end
local count_items = tonumber(ARGV[at])
at = at + 1
for i = 1, count_items do
  local origin, claims, lane, run, as_of = struct.unpack('>BBI2I4d', ARGV[at + 3])
  items[i] = {
    id = ARGV[at], rec = ARGV[at + 1], apart = ARGV[at + 2], key = ARGV[at + 4],
    restore = origin == 1, claims = claims == 1, lane = lanes[lane + 1], run = run, as_of = as_of,
  }
  at = at + 5
end

-- Checks first: nothing below this block may refuse.
local added, unused, claimed, came = {}, {}, {}, {}

-- A queue at its bound gives up a lane without live tasks, but none that this call fills.
local function unused_lane(queue)
  local list = unused[queue]
  if not list then
    list = {}
    unused[queue] = list
    local wanted, rows = {}, call('HGETALL', K .. 'll:' .. queue)
    for _, lane in ipairs(lanes) do wanted[lane.name] = true end
    for i = 1, #rows, 2 do
      local live = tonumber(call('HGET', K .. 'lc', rows[i]) or 0)
      local name = rows[i + 1]
      if live == 0 and not wanted[name] then list[#list + 1] = { rows[i], name, queue } end
    end
  end
  return table.remove(list)
end

local function find_lane(lane)
  if lane.checked then return lane.fits end
  lane.checked, lane.fits = true, true
  if call('HEXISTS', K .. 'lid', lane.name) == 1 then return true end
  local queue = call('HGET', K .. 'qid', lane.queue)
  local known = queue and call('HLEN', K .. 'll:' .. queue) or 0
  local coming = added[lane.queue] or 0
  if known + coming >= LANES_PER_QUEUE then
    lane.replaces = queue and unused_lane(queue)
    lane.fits = lane.replaces and true or false
  else
    added[lane.queue] = coming + 1
  end
  return lane.fits
end

local function key_holder(item)
  if not item.claims then return nil end
  local key = K .. 'k:' .. item.key
  if claimed[key] then return claimed[key] end
  local holder = call('GET', key)
  if holder then
    local id, expires = struct.unpack('>c16d', holder)
    if expires > now then return id end
  end
  return nil
end

local function is_known(item)
  if came[item.id] then return true end
  if item.known then
    local t = parse(item.known)
    return t[RUN] >= item.run or t[STATUS] < DONE
  end
  local tomb = read_tombstone(item.tomb, now)
  return tomb and tomb.run >= item.run
end

local function judge(item)
  local too_old = item.as_of > 0 and item.as_of < now - RESTORE_STALE_MS
  if item.restore and too_old then return 'too_old' end
  if is_known(item) then return 'known' end
  item.t = parse(item.rec)
  local told = not has(item.t, IN_HISTORY)
  if told and (room <= 0 or room_bytes <= 0) then return 'outbox_full' end
  local holder = key_holder(item)
  if holder and holder ~= item.id then return 'key_taken', holder end
  if not find_lane(item.lane) then return 'too_many_lanes' end
  came[item.id] = true
  if told then room, room_bytes = room - 1, room_bytes - #item.rec - #item.apart - 128 end
  if item.claims then claimed[K .. 'k:' .. item.key] = item.id end
  return 'enqueued'
end

-- What the store knows of the tasks: two keys each.
local keys = {}
for i, item in ipairs(items) do
  keys[i * 2 - 1], keys[i * 2] = record_key(item.id), K .. 'x:' .. item.id
end
for from = 1, #keys, 1000 do
  local values = call('MGET', unpack(keys, from, math.min(from + 999, #keys)))
  for i = 1, #values, 2 do
    local item = items[(from + i) / 2]
    item.known, item.tomb = values[i], values[i + 1]
  end
end
for i, item in ipairs(items) do outcomes[i] = { judge(item) } end

local function queue_id(lane)
  local id = call('HGET', K .. 'qid', lane.queue)
  if id then return id end
  id = call('HINCRBY', META, 'queues', 1)
  call('HSET', K .. 'qid', lane.queue, id)
  call('HSET', K .. 'qn', id, lane.queue)
  call('SADD', K .. 'nq:' .. lane.namespace, id)
  return id
end

-- The lane's number, made on first use; remembers whether it was empty before this call.
local function open_lane(lane)
  if lane.id then return end
  local found = call('HGET', K .. 'lid', lane.name)
  if not found then
    if lane.replaces then
      local old, name, queue = unpack(lane.replaces)
      call('HDEL', K .. 'lid', name)
      call('HDEL', K .. 'ln', old)
      call('HDEL', K .. 'lc', old)
      call('HDEL', K .. 'll:' .. queue, old)
      call('DEL', K .. 'v:' .. old, K .. 'mk:' .. name)
    end
    local queue = queue_id(lane)
    local id = call('HINCRBY', META, 'lanes', 1)
    found = id .. ':' .. queue
    call('HSET', K .. 'lid', lane.name, found)
    call('HSET', K .. 'ln', id, lane.name)
    call('HSET', K .. 'll:' .. queue, id, lane.name)
    publish('l' .. lane.queue)
  end
  local id, queue = string.match(found, '^(%d+):(%d+)$')
  lane.id, lane.queue_id = tonumber(id), tonumber(queue)
  lane.was_empty = call('EXISTS', lane_key(lane.id)) == 0
end

local writes = {}
local function admit(item)
  local t = item.t
  open_lane(item.lane)
  t[LANE], t[QUEUE] = item.lane.id, item.lane.queue_id
  t[ORDER] = next_sequence(t[LANE])
  -- History may show it running, or past its wait: here it waits, for its time or for a worker.
  if t[READY] > now then
    if t[STATUS] ~= RETRYING then t[STATUS] = SCHEDULED end
    put_delayed(item.id, t, t[READY])
  else
    t[STATUS] = PENDING
    put_ready(item.id, item.rec, t)
  end
  -- Asked to stop before the store forgot it: only the worker that runs it may still have it.
  if t[CANCEL] > 0 then call('ZADD', K .. 'ex', 'LT', now + SESSION_LEASE_MS, item.id) end
  recount(t, nil, t[STATUS])
  if item.claims then
    local holder = struct.pack('>c16d', item.id, now + IDEMPOTENCY_KEY_MS)
    call('SET', K .. 'k:' .. item.key, holder, 'PX', IDEMPOTENCY_KEY_MS)
  end
  if item.known then call('DEL', K .. 'p:' .. item.id, K .. 'r:' .. item.id) end
  if item.tomb then call('DEL', K .. 'x:' .. item.id) end
  if item.apart ~= '' then call('SET', K .. 'p:' .. item.id, item.apart) end
  local rec = head_of(t) .. string.sub(item.rec, HEAD_BYTES + 1)
  writes[#writes + 1] = record_key(item.id)
  writes[#writes + 1] = rec
  if item.restore then news[#news + 1] = item.id end
  if has(t, IN_HISTORY) then return '' end
  return (tell(item.id, rec, t, tail_of(rec, t), 0, now))
end

for i, item in ipairs(items) do
  if outcomes[i][1] == 'enqueued' then outcomes[i][2] = admit(item) end
end
set_all(writes)
close_shelves()

local function eager()
  if at > #ARGV or is_cold(ARGV[at]) or outbox_full() then return nil end
  local seen, max_bytes, secrets = tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2]), ARGV[at + 3]
  local lane_count, session_count = tonumber(ARGV[at + 4]), tonumber(ARGV[at + 5])
  local wanted, names, sessions = {}, {}, {}
  for _, lane in ipairs(lanes) do
    if lane.was_empty then wanted[lane.name] = true end
  end
  at = at + 6
  for i = at, at + lane_count - 1 do
    if wanted[ARGV[i]] then names[#names + 1] = ARGV[i] end
  end
  at = at + lane_count
  for i = 1, session_count do
    local generation, slots = tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])
    sessions[i] = { index = i - 1, id = ARGV[at], generation = generation, slots = slots }
    at = at + 3
  end
  if #names == 0 then return nil end
  local found, lost = find_sessions(sessions, now)
  local run = new_run(found, max_bytes, seen, secrets, now)
  local more = serve(run, names)
  return { 'ok', more and 1 or 0, lost, run.out }
end

local leased = eager()
close_shelves()
close_holds()
close_books()
return { outcomes, leased }
