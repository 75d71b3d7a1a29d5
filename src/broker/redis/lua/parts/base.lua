-- What a part keeps for the time of one call is set anew at its start, by what it gives to
-- `each_call`: as a library of functions all this is read once, not at every call. Redis and Lua's
-- own libraries are not there yet while it is read.
local starts = {}
local function each_call(start) starts[#starts + 1] = start end

-- KEYS[1] is the common start of every key of the partition; all others are formed from it, so they
-- share its hash tag.
local K, META
local call, pack, read, sub, band, bor, bnot
-- Tasks that changed, for tell_watchers; the partition's own numbers, once they were asked for.
local news, numbers
-- Enough for what is done before `start_call`; see parts/alone.lua.
local function begin_call()
  K, META = KEYS[1], KEYS[1] .. 'm'
  news, numbers = {}, nil
  if call then return end
  call, pack, read, sub = redis.call, struct.pack, struct.unpack, string.sub
  band, bor, bnot = bit.band, bit.bor, bit.bnot
end
local function start_call()
  begin_call()
  for i = 1, #starts do starts[i]() end
end

local function now_ms()
  local t = call('TIME')
  local now = t[1] * 1000 + math.floor(t[2] / 1000)
  -- @skew
  return now
end

local function queue_key(queue) return K .. 'c:' .. queue end
local function session_key(session) return K .. 's:' .. session end

-- The counts among what is noted of a queue: by turns priority:status, tasks.
local function counts_of(queue)
  local out, row = {}, call('HGETALL', queue_key(queue))
  for i = 1, #row, 2 do
    if string.find(row[i], ':', 1, true) then out[#out + 1], out[#out + 2] = row[i], row[i + 1] end
  end
  return out
end

-- Numbers above 10^14 lose digits in `..`; this is the only way they are printed.
local function digits(n)
  return string.format('%.0f', n)
end

-- Redis refuses calls with some thousand arguments from Lua's stack: long lists go in slices.
local function call_sliced(command, key, list)
  for i = 1, #list, 1000 do
    call(command, key, unpack(list, i, math.min(i + 999, #list)))
  end
end

-- Redis keeps a sorted set of up to 128 short members as one list, which it walks for each new one:
-- for a hundred at once that is dearer than all else. A longer member makes a tree of it for good,
-- which pays from some hundred steps on.
local LIST_MEMBERS, STEPS = 128, 800
local long_member
each_call(function() long_member = long_member or string.rep('-', 65) end)
local function add_sorted(key, list)
  local members = #list / 2
  local there = members > 5 and call('ZCARD', key) or LIST_MEMBERS + 1
  local as_tree = there <= LIST_MEMBERS and members * (there + members / 2) > STEPS
  if as_tree then call('ZADD', key, '0', long_member) end
  call_sliced('ZADD', key, list)
  if as_tree then call('ZREM', key, long_member) end
end

-- Fast, lossy news to every coordinator.
local function publish(message)
  call('PUBLISH', string.match(K, '^{(.*):%d+}:$') .. ':hints', message)
end

local function set_all(list)
  for i = 1, #list, 1000 do call('MSET', unpack(list, i, math.min(i + 999, #list))) end
end

-- The partition's own numbers: read when first asked for, written by `close_numbers`.
local function own()
  if numbers then return numbers end
  local row = call('HMGET', META, 'store', 'epoch', 'fc', 'obn', 'obb', 'xn', 'xb', 'xh', 'wt',
    'an', 'tn')
  numbers = {
    store = row[1], epoch = tonumber(row[2] or 0), fencing = tonumber(row[3] or 0),
    owed = tonumber(row[4] or 0), owed_bytes = tonumber(row[5] or 0),
    newest_tomb = tonumber(row[6] or nil), forgotten = tonumber(row[7] or nil),
    kept_tombs = row[8] or '', watched = row[9],
    newest_alone = tonumber(row[10] or nil), newest_together = tonumber(row[11] or 0),
  }
  return numbers
end

-- May be repeated.
local function close_numbers()
  if not numbers then return end
  local row = {}
  if numbers.granted then row = { 'fc', digits(numbers.fencing) } end
  if numbers.told then
    row[#row + 1], row[#row + 2] = 'obn', digits(numbers.owed)
    row[#row + 1], row[#row + 2] = 'obb', digits(numbers.owed_bytes)
  end
  if numbers.entombed then
    row[#row + 1], row[#row + 2] = 'xn', digits(numbers.newest_tomb)
  end
  if numbers.stood then
    row[#row + 1], row[#row + 2] = 'an', digits(numbers.newest_alone)
  end
  if numbers.tied then
    row[#row + 1], row[#row + 2] = 'tn', digits(numbers.newest_together)
  end
  numbers.granted, numbers.told, numbers.entombed = false, false, false
  numbers.stood, numbers.tied = false, false
  if #row > 0 then call('HSET', META, unpack(row)) end
end

-- Costs nothing while nobody watches any task; see watch.lua.
local function tell_watchers(letter)
  if #news == 0 or not own().watched then return end
  if call('EXISTS', K .. 'wt') == 0 then
    call('HDEL', META, 'wt')
    return
  end
  local heard = {}
  for i, watched in ipairs(call('ZMSCORE', K .. 'wt', unpack(news))) do
    if watched then heard[#heard + 1] = news[i] end
  end
  if #heard > 0 then publish(letter .. table.concat(heard)) end
end

local function is_cold(store_id)
  return own().store ~= store_id
end

-- Transitions and bytes that still fit into the outbox.
local function outbox_room()
  return OUTBOX_ENTRIES - own().owed, OUTBOX_BYTES - own().owed_bytes
end

local function outbox_full()
  local entries, bytes = outbox_room()
  return entries <= 0 or bytes <= 0
end
