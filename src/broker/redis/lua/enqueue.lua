#!lua
-- Takes tasks in (B1), and leases what came into empty lanes at once when asked to. Refused over
-- maxmemory.
-- KEYS  1 start of the partition's keys
-- ARGV  1 lanes, each: lane name, queue name, namespace  then lanes...
--       then the items, packed one after another: bits (1 restore, 2 claims its key, 4 a payload
--       apart, 8 in history, 16 plain), lane index, id; unless it is plain also run, time read
--       before history was, time it waits for, idempotency key; then the record, which says in
--       its bytes 22 to 25 how many follow them. Or plain tasks of one kind, as parts/bundle.lua
--       keeps them; then where the body of each starts, four bytes a place, and where they end
--       then payloads apart, and their number before them
--       then, for the eager half, as lease.lua's ARGV from 1; nothing without it
-- Returns { outbox entry, refusals: place (from 0), outcome, holder's id; lease.lua's reply or nil
-- }, or of a task that was granted alone: length of the outbox entry, entry, id, record
-- @include base
-- @include record
-- @include tomb
-- @include book
-- @include shelf
-- @include grant
-- @include plain
-- @include bundle
-- @include directory
-- @include take
-- @include slice
-- @include asked
-- @include lanes
-- @include alone
-- @before enqueue_alone
local now = now_ms()
local room, room_bytes = outbox_room()
local lanes, ids = {}, {}
-- Of those that came together, as bundle.newcomers says.
local new
-- Items by place; a plain one stands in the lists beside.
local items, plain = {}, { lane = {}, flags = {}, priority = {}, rest = {} }
local at = 2
for i = 1, tonumber(ARGV[1]) do
  lanes[i] = { name = ARGV[at], queue = ARGV[at + 1], namespace = ARGV[at + 2] }
  at = at + 3
end
local packed, places = ARGV[at], ARGV[at + 1]
at = at + 3
local function next_item(n, from)
  local bits, lane, id, run, as_of, wait, key, to = read('>BI2c16I4dI6I2c0', packed, from)
  local last = to + 24 + read('>I4', packed, to + 21)
  ids[n] = id
  items[n] = {
    id = id, rec = sub(packed, to, last), key = key, run = run, as_of = as_of, wait = wait,
    restore = bits % 2 == 1, claims = bits % 4 > 1, told = bits % 16 < 8,
    lane = lanes[lane + 1], apart = '',
  }
  if bits % 8 > 3 then
    items[n].apart = ARGV[at]
    at = at + 1
  end
  return last + 1
end
local record_version
local function next_plain(n, from)
  local lane, id, version, flags, priority, rest, to = read(PLAIN_ITEM, packed, from)
  ids[n], plain.lane[n], plain.flags[n] = id, lanes[lane + 1], flags
  plain.priority[n], plain.rest[n] = priority, rest
  record_version = version
  return to
end
local mould, many
local function read_together()
  if string.byte(packed) ~= TOGETHER then return false end
  local lane, version, flags, priority
  lane, many, version, flags, priority = read('>xI2I2xBxBB', packed)
  mould, record_version = sub(packed, 1, read('>I4', places) - many * 16), version
  plain.lane[1], plain.flags[1], plain.priority[1] = lanes[lane + 1], flags, priority
  return true
end
local function split_ids()
  for n = 1, many do ids[n] = sub(packed, #mould + n * 16 - 15, #mould + n * 16) end
  return ids
end
-- As if each had come by itself.
local function part_all()
  split_ids()
  local lane, flags, priority = plain.lane[1], plain.flags[1], plain.priority[1]
  for n = 1, #ids do
    local from, to = read('>I4I4', places, n * 4 - 3)
    plain.lane[n], plain.flags[n], plain.priority[n] = lane, flags, priority
    plain.rest[n] = bundle.rest(mould, sub(packed, from + 1, to))
  end
end
local function read_each()
  local from, n = 1, 0
  while from <= #packed do
    n = n + 1
    if string.byte(packed, from) > 15 then
      from = next_plain(n, from)
    else
      from = next_item(n, from)
    end
  end
end
local function is_told(n)
  if items[n] then return items[n].told end
  return plain.flags[n] % 2 ~= IN_HISTORY
end

-- Checks first: nothing below this block may refuse.
local claimed, came = {}, {}

local function key_holder(item)
  if claimed[item.key] then return claimed[item.key] end
  local holder = call('GET', K .. 'k:' .. item.key)
  if not holder then return nil end
  local id, expires = read('>c16d', holder)
  return expires > now and id
end

local together = read_together()
if not together then read_each() end
local refused, is_refused = {}, {}
-- Where all are plain and told, the outbox gets them as they came.
local as_came = next(items) == nil

-- Looked at once for all; where anything is the matter with one, each is judged alone.
local recs, keys, buried
local function fit_together()
  as_came = is_told(1)
  if as_came and (room < many or room_bytes <= #packed + many * 128) then return false end
  new = bundle.newcomers(packed, #mould + 1, many)
  if not new then return false end
  local older = new.oldest <= (own().newest_tomb or 2 ^ 48)
  if older and next(tombs_of(split_ids(), now, nil, new.times)) then return false end
  local start = pack(PLAIN_RECORD, record_version, PENDING, plain.flags[1], plain.priority[1], 0, 0)
  local header = sub(mould, MOULD_REST_AT, MOULD_SIZES_AT - 1)
  together = plain_grant(start .. string.rep('\0', 13) .. header)
  return together and find_lane(plain.lane[1], lanes)
end
if together and not fit_together() then
  together = false
  part_all()
end
if together and own().watched then split_ids() end
if not together then
  recs, keys = read_records(ids)
  bundle.stand_in(ids, recs)
  buried = tombs_of(ids, now)
end

local function is_known(item, rec)
  if came[item.id] then return true end
  if rec and is_bundled(rec) then return true end
  if rec then
    local t = parse(rec)
    return t[RUN] >= item.run or t[STATUS] < DONE
  end
  local tomb = buried[item.id]
  return tomb and tomb.run >= item.run
end

local function judge(item, rec)
  local too_old = item.as_of > 0 and item.as_of < now - RESTORE_STALE_MS
  if item.restore and too_old then return 'too_old' end
  if is_known(item, rec) then return 'known' end
  if item.told and (room <= 0 or room_bytes <= 0) then return 'outbox_full' end
  local holder = item.claims and key_holder(item)
  if holder and holder ~= item.id then return 'key_taken', holder end
  if not find_lane(item.lane, lanes) then return 'too_many_lanes' end
  came[item.id] = true
  if item.claims then claimed[item.key] = item.id end
  if item.told then room, room_bytes = room - 1, room_bytes - #item.rec - #item.apart - 128 end
  return nil
end

-- Of its first run and without a key.
local function judge_plain(n, rec)
  local id = ids[n]
  if rec or came[id] or buried[id] then return 'known' end
  local told = is_told(n)
  if told and (room <= 0 or room_bytes <= 0) then return 'outbox_full' end
  if not find_lane(plain.lane[n], lanes) then return 'too_many_lanes' end
  came[id] = true
  if told then room, room_bytes = room - 1, room_bytes - #plain.rest[n] - 146 end
  return nil
end

for n = 1, together and 0 or #ids do
  local outcome, holder
  if items[n] then
    outcome, holder = judge(items[n], recs[n])
  else
    outcome = judge_plain(n, recs[n])
    as_came = as_came and not outcome and is_told(n)
  end
  if outcome then
    is_refused[n] = true
    refused[#refused + 1] = n - 1
    refused[#refused + 1] = outcome
    refused[#refused + 1] = holder or ''
  end
end

-- What came plain into one empty lane is granted before it ever stands there.
local function direct_run()
  if next(items) or #refused > 0 or #lanes ~= 1 or at > #ARGV then return nil end
  if is_cold(ARGV[at]) or outbox_full() then return nil end
  local lane = lanes[1]
  for n = 2, #ids do
    if plain.priority[n] ~= plain.priority[1] then return nil end
  end
  open_lane(lane)
  local asked, sessions = read_request(at)
  local is_asked = false
  for _, name in ipairs(asked) do is_asked = is_asked or name == lane.name end
  if not lane.was_empty or not is_asked then return nil end
  local key = queue_key(lane.queue_id)
  local row = call('HMGET', key, 'paused', 'served')
  if row[1] == '1' then return nil end
  local found, lost = find_sessions(sessions, now)
  local run = new_run(found, tonumber(ARGV[at + 2]), tonumber(ARGV[at + 1]), ARGV[at + 3], now)
  run.lost, run.queue_key, run.served, run.full = lost, key, tonumber(row[2] or 0), run.room <= 0
  run.cell = lane.queue_id * 4 + plain.priority[1]
  return run
end

local direct = #ids > 0 and not together and direct_run()

-- Once one of them finds no room, those behind it find none.
local function give_directly(id, key, rec)
  if direct.full then return false end
  local s, timeout, head, state = pick_session(direct, false), plain_grant(rec)
  if s and timeout and give(direct, id, key, rec, nil, s, timeout, head, state) then
    return true
  end
  direct.full = true
  return false
end

local function close_direct()
  count_plain()
  if direct.used == 0 then return end
  call('MSET', unpack(direct.store))
  call('HSET', direct.queue_key, 'served', digits(direct.served + direct.used))
  own().fencing, own().granted = direct.counter, true
end

local births_at = 0
if as_came and (together or #ids > 0) then
  births_at = tell_as_came(ids, together and many or #ids, packed, now)
end
local writes = {}
local shelves = {}
-- Where a call's plain tasks of one lane and priority go.
local function plain_shelf(lane, priority)
  if not lane.id then open_lane(lane) end
  local shelf = {
    lane = lane.id, queue = lane.queue_id, priority = priority, came = 0,
    clock = clock_of(lane.id), level = 3 - priority, starts = {},
  }
  lane[priority], shelves[#shelves + 1] = shelf, shelf
  return shelf
end

local function admit_plain(n)
  local id, lane, priority = ids[n], plain.lane[n], plain.priority[n]
  local shelf, flags = lane[priority] or plain_shelf(lane, priority), plain.flags[n]
  local clock = shelf.clock
  local order = clock.n + 1
  clock.n, shelf.came = order, shelf.came + 1
  local birth = births_at > 0 and births_at + n - 1 or 0
  local start = shelf.starts[flags]
  if not start then
    start = pack(PLAIN_RECORD, record_version, PENDING, flags, priority, shelf.lane, shelf.queue)
    shelf.starts[flags] = start
  end
  local rec = start .. pack('>I6I7', order, birth) .. plain.rest[n]
  if direct and give_directly(id, keys[n], rec) then return rec, flags end
  local list = shelf.list or shelf_of(shelf.lane, shelf.level, shelf.level .. 'u')
  local last = #list
  shelf.list = list
  list[last + 1], list[last + 2] = order, id
  writes[#writes + 1], writes[#writes + 2] = keys[n], rec
  return rec, flags
end

local function close_plain()
  for _, shelf in ipairs(shelves) do
    count(shelf.queue, shelf.priority, PENDING, shelf.came)
    live[shelf.lane] = (live[shelf.lane] or 0) + shelf.came
    if shelf.list then woken[shelf.lane] = shelf.queue end
    shelf.clock.changed.n = shelf.clock.n
  end
end

local function admit(item, key, known)
  local id, lane = item.id, item.lane
  if not lane.id then open_lane(lane) end
  local t = { read(HEAD, item.rec) }
  t[LANE], t[QUEUE], t[BIRTH] = lane.id, lane.queue_id, 0
  t[ORDER] = next_sequence(lane.id)
  -- History may show it running, or past its wait: here it waits, for its time or for a worker.
  if item.wait > now then
    if t[STATUS] ~= RETRYING then t[STATUS] = SCHEDULED end
    put_delayed(id, t, item.wait)
  else
    t[STATUS] = PENDING
    put_ready(id, item.rec, t)
  end
  -- Asked to stop before the store forgot it: only the worker that runs it may still have it.
  if t[CANCEL] > 0 then call('ZADD', K .. 'ex', 'LT', now + SESSION_LEASE_MS, item.id) end
  recount(t, nil, t[STATUS])
  if item.claims then
    local holder = pack('>c16d', id, now + IDEMPOTENCY_KEY_MS)
    call('SET', K .. 'k:' .. item.key, holder, 'PX', IDEMPOTENCY_KEY_MS)
  end
  if known then call('DEL', K .. 'p:' .. id, K .. 'r:' .. id, checkpoint_key(id)) end
  if buried[id] then exhume(id, now) end
  if item.apart ~= '' then call('SET', K .. 'p:' .. id, item.apart) end
  local rec = with_head(item.rec, t)
  if t[TAIL_BYTES] > INLINE_BYTES then
    local x = tail_of(rec, t)
    x[7] = put_checkpoint(id, '', x[7])
    rec = assemble(rec, t, x)
  end
  writes[#writes + 1] = key
  writes[#writes + 1] = rec
  if item.restore then news[#news + 1] = id end
  if item.told then tell(id, rec, t, 0, #item.apart) end
end

local function admit_together()
  local shelf = plain_shelf(plain.lane[1], plain.priority[1])
  local start = pack(PLAIN_RECORD, record_version, PENDING, plain.flags[1], plain.priority[1],
    shelf.lane, shelf.queue)
  bundle.tie(shelf, new, births_at, start, together, packed, mould, places)
  if not own().newest_alone then bundle.note_alone(math.max(now, new.newest)) end
end

-- Where the outbox could not say by one number where each stands, they stand alone.
if together and (births_at > 0 or not as_came) then
  admit_together()
elseif together then
  together = false
  part_all()
  keys = select(2, read_records(ids))
end
local newest = 0
for n = 1, together and 0 or #ids do
  newest = math.max(newest, time_of(ids[n]))
  if items[n] and not is_refused[n] then
    admit(items[n], keys[n], recs[n])
  elseif not is_refused[n] then
    local rec, flags = admit_plain(n)
    if not as_came and flags % 2 ~= IN_HISTORY then
      local spec_bytes, payload_bytes = read('>I4I2', rec, SIZES_AT)
      tell_of(ids[n], rec, PENDING, flags, spec_bytes, payload_bytes, 0, 0)
    end
  end
end
if newest > 0 then bundle.note_alone(newest) end
close_plain()
if direct then close_direct() end
set_all(writes)
close_shelves()

local function eager()
  if direct then return granted_reply(direct, direct.lost, direct.used < #ids) end
  if at > #ARGV or is_cold(ARGV[at]) or outbox_full() then return nil end
  local wanted, names = {}, {}
  for _, lane in ipairs(lanes) do
    if lane.was_empty then wanted[lane.name] = true end
  end
  local asked, sessions = read_request(at)
  for _, name in ipairs(asked) do
    if wanted[name] then names[#names + 1] = name end
  end
  if #names == 0 then return nil end
  local found, lost = find_sessions(sessions, now)
  local run = new_run(found, tonumber(ARGV[at + 2]), tonumber(ARGV[at + 1]), ARGV[at + 3], now)
  local more = serve(run, names)
  return granted_reply(run, lost, more)
end

local leased = eager()
close_shelves()
close_holds()
return { close_books(now), refused, leased }
