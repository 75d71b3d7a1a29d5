#!lua flags=no-writes
-- Live sessions of a partition.
-- KEYS  1 start of the partition's keys
-- Returns { generation, info } per session
-- @include base
local out = {}
for _, session in ipairs(call('ZRANGEBYSCORE', K .. 'sl', '(' .. digits(now_ms()), '+inf')) do
  local row = call('HMGET', session_key(session), 'g', 'i')
  if row[1] then out[#out + 1] = { row[1], row[2] } end
end
return out
