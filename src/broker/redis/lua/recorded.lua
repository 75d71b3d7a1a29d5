#!lua flags=allow-oom
-- History holds these versions: outbox entries go, finished records become tombstones (B9).
-- KEYS  1 start of the partition's keys
-- ARGV  1 number of outbox entries, each: id, transitions, bytes, places of those that history
--       holds now (two bytes each)  then entries...
--       then the tasks, packed one after another: id, version
-- Returns how many records became tombstones
-- @include base
-- @include record
-- @include tomb
local now = now_ms()
local OUTBOX, PARTLY = K .. 'ob', K .. 'oc'

-- Drops an entry once history holds all of it; until then notes which places it holds. Answers how
-- many it did not hold before.
local function confirm(entry, total, bytes, places)
  local held = #places / 2 < total and call('HGET', PARTLY, entry)
  if #places / 2 < total and not held then
    if #call('XRANGE', OUTBOX, entry, entry) == 0 then return end
    held = string.rep('0', total)
  end
  local fresh = total
  if held then
    local marks = { string.byte(held, 1, total) }
    fresh = 0
    for at = 1, #places, 2 do
      local place = read('>I2', places, at) + 1
      if marks[place] == 48 then
        marks[place] = 49
        fresh = fresh + 1
      end
    end
    held = string.char(unpack(marks))
    if string.find(held, '0', 1, true) then
      call('HSET', PARTLY, entry, held)
      own().owed = own().owed - fresh
      own().told = true
      return
    end
    call('HDEL', PARTLY, entry)
  end
  if call('XDEL', OUTBOX, entry) == 0 then return end
  own().owed, own().owed_bytes, own().told = own().owed - fresh, own().owed_bytes - bytes, true
end

local count = tonumber(ARGV[1])
for i = 2, count * 4 + 1, 4 do
  confirm(ARGV[i], tonumber(ARGV[i + 1]), tonumber(ARGV[i + 2]), ARGV[i + 3])
end
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
local dropped, buried = {}, 0

local function bury(id, key, rec, t)
  entomb(id, t[RUN], now, t[SETTLED_BY], t[TOKEN], session_of(rec, t))
  dropped[#dropped + 1] = key
  if has(t, PAYLOAD_APART) then dropped[#dropped + 1] = K .. 'p:' .. id end
  if has(t, RESULT_APART) then dropped[#dropped + 1] = K .. 'r:' .. id end
  buried = buried + 1
  news[buried] = id
end

for i, id in ipairs(ids) do
  local rec, version = recs[i], versions[id]
  local t = rec and parse(rec)
  if t and t[STATUS] >= DONE and version >= t[VERSION] then
    bury(id, keys[i], rec, t)
  elseif t and version > t[RECORDED] then
    t[RECORDED] = version
    set(t, IN_HISTORY)
    call('SETRANGE', keys[i], 0, head_of(t))
  end
end
for i = 1, #dropped, 1000 do call('DEL', unpack(dropped, i, math.min(i + 999, #dropped))) end
close_tombs(now)
close_numbers()
tell_watchers('t')
return buried
