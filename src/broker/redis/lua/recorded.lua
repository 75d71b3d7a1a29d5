#!lua flags=allow-oom
-- History holds these versions: outbox entries go, finished records become tombstones (B9).
-- KEYS  1 start of the partition's keys
-- ARGV  per item: outbox id, task id, version
-- Returns how many records became tombstones
-- @include base
-- @include record
local now = now_ms()
local ids, entries, dropped = {}, {}, {}
local buried, freed = 0, 0
for i = 2, #ARGV, 3 do ids[#ids + 1] = ARGV[i] end
local known = records_of(ids)

local function bury(id, rec, t)
  entomb(id, t[RUN], now + TOMBSTONE_MS, t[SETTLED_BY], t[TOKEN], tail_of(rec, t)[1])
  dropped[#dropped + 1] = record_key(id)
  if has(t, PAYLOAD_APART) then dropped[#dropped + 1] = K .. 'p:' .. id end
  if has(t, RESULT_APART) then dropped[#dropped + 1] = K .. 'r:' .. id end
  known[id] = nil
  buried = buried + 1
  news[buried] = id
end

for i = 1, #ARGV, 3 do
  local entry_id, id, version = ARGV[i], ARGV[i + 1], tonumber(ARGV[i + 2])
  local entry = entry_id ~= '' and call('XRANGE', K .. 'ob', entry_id, entry_id)[1]
  if entry and not entries[entry_id] then
    freed = freed + struct.unpack('>I4', entry[2][2])
    entries[entry_id] = true
    entries[#entries + 1] = entry_id
  end
  local rec = known[id]
  local t = rec and parse(rec)
  if t and t[STATUS] >= DONE and version >= t[VERSION] then
    bury(id, rec, t)
  elseif t and version > t[RECORDED] then
    t[RECORDED] = version
    set(t, IN_HISTORY)
    local head = head_of(t)
    call('SETRANGE', record_key(id), 0, head)
    known[id] = head .. string.sub(rec, HEAD_BYTES + 1)
  end
end
for i = 1, #dropped, 1000 do call('DEL', unpack(dropped, i, math.min(i + 999, #dropped))) end
call_sliced('XDEL', K .. 'ob', entries)
if freed > 0 then
  if call('XLEN', K .. 'ob') == 0 then
    call('HSET', META, 'obb', 0)
  else
    call('HINCRBY', META, 'obb', -freed)
  end
end
tell_watchers('t')
return buried
