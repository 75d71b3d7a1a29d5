#!lua flags=no-writes
-- Lanes of a queue, or the counts of a namespace's queues.
-- KEYS  1 start of the partition's keys
-- ARGV  1 'lanes'  2 queue name;  or  1 'counts'  2 namespace
-- Returns lane names; or { queue name, { field, tasks, ... } } per queue
-- @include base
if ARGV[1] == 'lanes' then
  local id = call('HGET', K .. 'qid', ARGV[2])
  return id and call('HVALS', K .. 'll:' .. id) or {}
end
local out = {}
for _, id in ipairs(call('SMEMBERS', K .. 'nq:' .. ARGV[2])) do
  local fields = counts_of(id)
  if #fields > 0 then out[#out + 1] = { call('HGET', K .. 'qn', id), fields } end
end
return out
