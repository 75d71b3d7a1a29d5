#!lua flags=allow-oom
-- History holds these versions: outbox entries go, finished records become tombstones (B9).
-- KEYS  1 start of the partition's keys
-- ARGV  1 number of outbox entries, each: id, transitions, bytes, places of those that history
--       holds now (runs of them: two bytes for the first, two for their number)  then entries...
--       then the tasks, packed one after another: id, version; without those whose records say
--       where the outbox told of their birth, of which no more is known than that, and without
--       those of entries that tell of nothing but RELAXED ends that left no record
-- Returns how many records became tombstones
-- @include base
-- @include record
-- @include tomb
local now = now_ms()
local OUTBOX, HELD = K .. 'ob', K .. 'oc'
-- In the first byte of what is told of several; see told.ts.
local OF_RUN = 32

-- The marks with these places among them, and how many were not.
local function mark(held, runs)
  local fresh, pieces, at = 0, {}, 1
  for n = 1, #runs, 4 do
    local from, count = read('>I2I2', runs, n)
    local _, new = string.gsub(sub(held, from + 1, from + count), '0', '0')
    fresh = fresh + new
    pieces[#pieces + 1] = sub(held, at, from)
    pieces[#pieces + 1] = string.rep('1', count)
    at = from + count + 1
  end
  pieces[#pieces + 1] = sub(held, at)
  return table.concat(pieces), fresh
end

-- As the tombstones of ends that leave no record are planted before history knows of them: where
-- it learns late, they begin now.
local LATE_MS = 60000

-- The ids of all that an entry tells of; those of several that ended together stand beside it.
local function ids_told(fields, total)
  local list, ids, at, beside = cmsgpack.unpack(fields[4]), {}, 1, 6
  while #ids < total do
    local about = list[at]
    if band(string.byte(about), OF_RUN) == 0 then
      ids[#ids + 1] = sub(about, 3, 18)
    else
      local these = fields[beside]
      for from = 1, #these, 16 do ids[#ids + 1] = sub(these, from, from + 15) end
      beside = beside + 4
    end
    at = at + 2
  end
  return ids
end

-- Entries that go, and those of them that tell of several, which go at once.
local dropped, several_dropped = {}, {}

local function drop(entry, total)
  local told = now - string.match(entry, '^%d+') > LATE_MS and call('XRANGE', OUTBOX, entry, entry)
  local fields = told and told[1] and told[1][2]
  if fields and fields[3] ~= 'p' then renew_tombs(entry, ids_told(fields, total), now) end
  dropped[#dropped + 1] = entry
end

-- Drops an entry once history holds all of it; until then notes which places it holds. `held`: of
-- one that tells of several.
local function confirm(entry, total, bytes, runs, held)
  local fresh = total
  if total > 1 then
    if not held then
      -- Gone, or told by an earlier version.
      if #call('XRANGE', OUTBOX, entry, entry) == 0 then return end
      held = string.rep('0', total)
    end
    held, fresh = mark(held, runs)
    if string.find(held, '0', 1, true) then
      call('HSET', HELD, entry, held)
      own().owed = own().owed - fresh
      own().told = true
      return
    end
    several_dropped[#several_dropped + 1] = entry
  end
  drop(entry, total)
  if total == 1 and call('XDEL', OUTBOX, entry) == 0 then return end
  own().owed, own().owed_bytes, own().told = own().owed - fresh, own().owed_bytes - bytes, true
end

local count, several, held_of = tonumber(ARGV[1]), {}, {}
for i = 2, count * 4 + 1, 4 do
  if ARGV[i + 1] ~= '1' then several[#several + 1] = ARGV[i] end
end
for from = 1, #several, 1000 do
  local to = math.min(from + 999, #several)
  for n, held in ipairs(call('HMGET', HELD, unpack(several, from, to))) do
    held_of[several[from + n - 1]] = held
  end
end
for i = 2, count * 4 + 1, 4 do
  local entry, total, bytes = ARGV[i], tonumber(ARGV[i + 1]), tonumber(ARGV[i + 2])
  confirm(entry, total, bytes, ARGV[i + 3], held_of[entry])
end
call_sliced('HDEL', HELD, several_dropped)
call_sliced('XDEL', OUTBOX, several_dropped)
call_sliced('HDEL', K .. 'oe', dropped)
if call('XLEN', OUTBOX) == 0 then
  own().owed, own().owed_bytes, own().told = 0, 0, true
end

local packed, ids, versions = ARGV[count * 4 + 2], {}, {}
for at = 1, #packed, 20 do
  local id, version = read('>c16I4', packed, at)
  local before = versions[id]
  if not before then ids[#ids + 1] = id end
  if not before or version > before then versions[id] = version end
end
local recs, keys = read_records(ids)
local ended, buried = {}, 0

-- As parts/record.lua places them; the grant's settling and token stand as they do in a tombstone.
local STATE = '>xBBxxxxxxxxxxxxxxxxxxxxxxI4'
local RECORDED_AT, SETTLED_FROM, TOKEN_TO, TAIL_AT, RUN_AT = 87, 34, 50, 75, 79

local function bury(id, key, rec, flags)
  local session, run = '', read('>I2', rec, RUN_AT)
  if read('>I4', rec, TAIL_AT) > 0 then
    local spec_bytes, payload_bytes = read('>I4I2', rec, SIZES_AT)
    session = read('>I4c0', rec, HEAD_BYTES + spec_bytes + payload_bytes + 1)
  end
  entomb_as(id, pack(TOMB, run, now + TOMBSTONE_MS, sub(rec, SETTLED_FROM, TOKEN_TO), session))
  ended[#ended + 1] = key
  if band(flags, PAYLOAD_APART) ~= 0 then ended[#ended + 1] = K .. 'p:' .. id end
  if band(flags, RESULT_APART) ~= 0 then ended[#ended + 1] = K .. 'r:' .. id end
  if has_checkpoint_apart(rec) then ended[#ended + 1] = checkpoint_key(id) end
  buried = buried + 1
  news[#news + 1] = id
end

-- History has this version of a task that goes on.
local function note(key, rec, flags, version)
  local between = sub(rec, 4, RECORDED_AT - 1)
  call('SETRANGE', key, 2, pack('>Bc0I4', bor(flags, IN_HISTORY), between, version))
end

for i, id in ipairs(ids) do
  local rec, version = recs[i], versions[id]
  -- It left no record, or stands together with others, of which its birth says what history holds;
  -- but somebody may watch it.
  if not rec then
    news[#news + 1] = id
  else
    local status, flags, current = read(STATE, rec)
    if status >= DONE and version >= current then
      bury(id, keys[i], rec, flags)
    elseif version > read('>I4', rec, RECORDED_AT) then
      note(keys[i], rec, flags, version)
    end
  end
end
for i = 1, #ended, 1000 do call('DEL', unpack(ended, i, math.min(i + 999, #ended))) end
close_tombs(now)
close_numbers()
tell_watchers('t')
return buried
