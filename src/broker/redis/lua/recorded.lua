#!lua flags=allow-oom
-- History holds these versions: outbox entries go, finished records become tombstones (B9).
-- KEYS  1 start of the partition's keys
-- ARGV  per item: outbox id, task id, version
-- Returns how many records became tombstones
-- @include base
-- @include record
local now = now_ms()
local buried = 0

local function bury(id, rec, t)
  entomb(id, t[RUN], now + TOMBSTONE_MS, t[SETTLED_BY], t[TOKEN], tail_of(rec, t)[1])
  call('DEL', record_key(id), K .. 'p:' .. id, K .. 'r:' .. id)
  buried = buried + 1
end

local freed = 0
for i = 1, #ARGV, 3 do
  local entry_id, id, version = ARGV[i], ARGV[i + 1], tonumber(ARGV[i + 2])
  local entry = entry_id ~= '' and call('XRANGE', K .. 'ob', entry_id, entry_id)[1]
  if entry then
    freed = freed + struct.unpack('>I4', entry[2][2])
    call('XDEL', K .. 'ob', entry_id)
  end
  local rec = call('GET', record_key(id))
  if rec then
    local t = parse(rec)
    if t[STATUS] >= DONE and version >= t[VERSION] then
      bury(id, rec, t)
    elseif version > t[RECORDED] then
      t[RECORDED] = version
      set(t, IN_HISTORY)
      call('SETRANGE', record_key(id), 0, head_of(t))
    end
  end
end
if freed > 0 then
  if call('XLEN', K .. 'ob') == 0 then
    call('HSET', META, 'obb', 0)
  else
    call('HINCRBY', META, 'obb', -freed)
  end
end
return buried
