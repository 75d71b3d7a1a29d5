#!lua flags=allow-oom
-- Reads, opens or closes a partition (B13).
-- KEYS  1 start of the partition's keys
-- ARGV  1 'now' | 'status' | 'open' | 'close'  2 store id  3 epoch or reason
-- Returns the store's time; or { served here, opened on, epoch, store id }; or 1 if it applied
-- @include base
if ARGV[1] == 'now' then return digits(now_ms()) end
if ARGV[1] == 'open' then
  local epoch = tonumber(ARGV[3])
  epoch = math.max(epoch, tonumber(call('HGET', META, 'epoch') or 0))
  local counter = math.max(tonumber(call('HGET', META, 'fc') or 0), epoch * FENCING_UNIT)
  call('HSET', META, 'store', ARGV[2], 'epoch', digits(epoch), 'fc', digits(counter))
  call('HDEL', META, 'closed')
  for _, lane in ipairs(call('SRANDMEMBER', K .. 'ne', WAKE_LANES)) do
    local name = call('HGET', K .. 'ln', lane)
    if name then call('ZADD', K .. 'mk:' .. name, 0, '1') end
  end
  return 1
end
if ARGV[1] == 'close' then
  call('HSET', META, 'store', '', 'closed', ARGV[3])
  return 1
end
local row = call('HMGET', META, 'store', 'epoch')
return { row[1] == ARGV[2] and 1 or 0, row[1] or '', row[2] or '0', ARGV[2] }
