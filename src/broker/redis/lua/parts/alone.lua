-- Needs base, record, tomb, book, shelf, grant, plain, asked. The most common step of the most
-- common task when it comes alone, as at a low rate all do, and somebody waits for it: straight,
-- with as few commands as it needs and nothing gathered. Called before anything of the call is
-- set up; answers nil, with nothing written, where anything differs in any way.

-- The one plain item of a call starts with 19 bytes before its record; see enqueue.lua.
local ITEM_BYTES = 19
local ITEM = '>xI2c16BxBB'
local ITEM_SIZE_AT, ITEM_WAIT_AT, ITEM_REST_AT = 41, 70, 98

-- Whether this lane is among those that the request, which stands in ARGV from 8 on, asks for, and
-- the first of its sessions that has room: its place in ARGV.
local function asked_alone(name)
  local lane_count, session_count = tonumber(ARGV[12]), tonumber(ARGV[13])
  local first = 14 + lane_count
  for at = 14, first do
    if at == first then return nil end
    if ARGV[at] == name then break end
  end
  for at = first, first + session_count * 3 - 1, 3 do
    if ARGV[at + 2] ~= '0' then return at end
  end
end

-- The session that gets it: its worker, and the time that its first attempt may have to end.
local function read_session_alone(at, now)
  local row = call('HMGET', session_key(ARGV[at]), 'g', 'w', 'e', 'd')
  if row[1] ~= ARGV[at + 1] or not row[3] or tonumber(row[3]) <= now then return nil end
  return row[2], row[4] and tonumber(row[4])
end

-- How many of a priority run, among what is noted of a queue.
local running_cells = { [0] = '0:3', '1:3', '2:3', '3:3' }

-- A new plain task that comes into an empty lane and is granted before it ever stands there.
-- Answers all in one string, as Redis takes longer over lists in lists than over half of the
-- commands here.
local function enqueue_alone()
  local packed, name = ARGV[5], ARGV[2]
  if ARGV[1] ~= '1' or not ARGV[13] or string.byte(packed) < 16 then return nil end
  if #packed ~= ITEM_BYTES + 25 + read('>I4', packed, ITEM_SIZE_AT) then return nil end
  local at = asked_alone(name)
  if not at or #ARGV[11] < 8 then return nil end
  local _, id, version, flags, priority = read(ITEM, packed)
  local timeout = is_free(flags, ITEM_WAIT_AT, packed)
  if not timeout or is_cold(ARGV[8]) or outbox_full() then return nil end
  local mine, place = own(), call('HGET', K .. 'lid', name)
  local time = time_of(id)
  if not place or not mine.newest_tomb then return nil end
  if time <= mine.newest_tomb or time <= mine.newest_together then return nil end
  local lane, queue = string.match(place, '^(%d+):(%d+)$')
  local now, running = now_ms(), running_cells[priority]
  local worker, first_end = read_session_alone(at, now)
  local about = call('HMGET', queue_key(queue), 'paused', 'served', running)
  if not worker or about[1] == '1' or call('EXISTS', lane_key(lane)) == 1 then return nil end
  local clock = call('HMGET', clock_key(lane), 'n', 'live')
  local order, session = (clock[1] or 0) + 1, ARGV[at]
  mine.fencing = math.max(mine.fencing, mine.epoch * FENCING_UNIT, tonumber(ARGV[9])) + 1
  mine.granted = true
  local tail = fresh_tail(session, worker)
  local rec = pack(GRANT, version, RUNNING, band(flags, AFTER_GRANT), priority, lane, queue, order,
    0, read('>I4', packed, 45) + 1, read('>I4', packed, 49) + 1, 0, mine.fencing,
    sub(ARGV[11], 1, 8), now, 0, 0, 0, 0, #tail) .. sub(packed, ITEM_REST_AT) .. tail
  -- The first that is written, and the last that may say no.
  if not call('SET', K .. 't:' .. id, rec, 'NX') then return nil end
  bundle.note_alone(time)
  local entry, deadline = '', now + timeout
  if flags % 2 ~= IN_HISTORY then
    told_bytes = #packed + 128
    write_outbox(1, 'p', packed, now)
    entry = told_entry
  end
  call('HSET', queue_key(queue), 'served', digits((about[2] or 0) + 1), running,
    digits((about[3] or 0) + 1))
  call('HSET', clock_key(lane), 'n', digits(order), 'live', digits((clock[2] or 0) + 1))
  call('ZADD', held_key(session), digits(deadline), id)
  if not first_end or first_end > deadline then note_first_end(session, deadline) end
  news[1] = id
  close_numbers()
  tell_watchers('t')
  return string.char(#entry) .. entry .. id .. rec
end

-- A plain task that completes.
local function settle_alone()
  if string.byte(ARGV[1]) ~= 1 then return nil end
  local kind, id, token, place, data, _, _, to = read(SETTLE_ITEM, ARGV[1])
  if to <= #ARGV[1] or place == 0 or #ARGV > tonumber(ARGV[2]) + 2 then return nil end
  births = {}
  local session, key = ARGV[place + 2], K .. 't:' .. id
  local rec = call('GET', key)
  if not rec then return nil end
  local flags, run, priority, lane, queue = plain_end(rec, token, session, data)
  if not flags then return nil end
  local now = now_ms()
  call('ZREM', held_key(session), id)
  told, told_bytes, tombs, newest_tomb = {}, 0, {}, 0
  tell_completed(id, rec, flags, data)
  told_list = cmsgpack.pack(told)
  write_outbox(1, band(flags, RELAXED) ~= 0 and 'e' or 'm', told_list, now)
  entomb_told(told_entry, kind, { id }, { run }, { token }, { session }, { 0 }, now)
  close_tombs(now)
  call('DEL', key)
  call('HINCRBY', queue_key(queue), running_cells[priority], '-1')
  call('HINCRBY', clock_key(lane), 'live', '-1')
  close_numbers()
  tell_watchers('t')
  return { told_entry, digits(now), 'a', told_list, {} }
end
