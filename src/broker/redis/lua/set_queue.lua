#!lua flags=allow-oom
-- Pauses or resumes a queue; resuming wakes the lanes that waited (B10).
-- KEYS  1 start of the partition's keys
-- ARGV  1 queue name  2 namespace  3 paused, 1 or 0
-- Returns 1
-- @include base
local name = ARGV[1]
local id = call('HGET', K .. 'qid', name)
if not id then
  id = call('HINCRBY', META, 'queues', 1)
  call('HSET', K .. 'qid', name, id)
  call('HSET', K .. 'qn', id, name)
  call('SADD', K .. 'nq:' .. ARGV[2], id)
end
call('HSET', queue_key(id), 'paused', ARGV[3])
if ARGV[3] ~= '1' then
  local lanes = call('HGETALL', K .. 'll:' .. id)
  for i = 1, #lanes, 2 do
    if call('EXISTS', K .. 'L:' .. lanes[i]) == 1 then
      call('ZADD', K .. 'mk:' .. lanes[i + 1], 0, '1')
    end
  end
end
publish('q' .. name)
return 1
