#!lua flags=allow-oom
-- Says that a coordinator lives.
-- KEYS  1 start of partition 0's keys
-- ARGV  1 coordinator id  2 info
-- Returns the infos of all that did within 10 s
-- @include base
local now = now_ms()
call('HSET', K .. 'co', ARGV[1], struct.pack('>d', now) .. ARGV[2])
local rows, out = call('HGETALL', K .. 'co'), {}
for i = 1, #rows, 2 do
  if now - struct.unpack('>d', rows[i + 1]) >= COORDINATOR_MS then
    call('HDEL', K .. 'co', rows[i])
  else
    out[#out + 1] = string.sub(rows[i + 1], 9)
  end
end
return out
