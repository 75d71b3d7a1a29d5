#!lua flags=allow-oom
-- Changes of these tasks are hinted for a while (B14).
-- KEYS  1 start of the partition's keys
-- ARGV  task ids
-- Returns how many tasks are watched now
-- @include base
local now = now_ms()
local rows = {}
for _, id in ipairs(ARGV) do
  rows[#rows + 1] = now + WATCH_MS
  rows[#rows + 1] = id
end
call('ZREMRANGEBYSCORE', K .. 'wt', '-inf', digits(now))
call_sliced('ZADD', K .. 'wt', rows)
call('PEXPIRE', K .. 'wt', WATCH_MS)
call('HSET', META, 'wt', '1')
return call('ZCARD', K .. 'wt')
