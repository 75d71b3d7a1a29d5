#!lua
-- Keeps what the next attempt goes on from (B15); counts as a sign of life, as progress does.
-- Refused over maxmemory.
-- KEYS  1 start of the partition's keys
-- ARGV  per item: task id, token (fencing number and secret), session id, checkpoint, packed
-- Returns per item 1, or 0: the lease is over
-- @include base
-- @include record
-- @include book
-- @include shelf
-- @include grant
-- @include plain
-- @include bundle
-- @include directory
local now = now_ms()
local kept = {}
for i = 1, #ARGV, 4 do
  local id = ARGV[i]
  local rec = record_of(id)
  local t = rec and parse(rec)
  local x = t and t[STATUS] == RUNNING and t[TOKEN] == ARGV[i + 1] and tail_of(rec, t)
  if x and x[1] == ARGV[i + 2] then
    local before = x[7]
    x[7] = put_checkpoint(id, before, ARGV[i + 3])
    if x[7] ~= before then call('SET', record_key(id), assemble(rec, t, x)) end
    if t[HEARTBEAT] > 0 then call('ZADD', K .. 'sh:' .. x[1], 'XX', attempt_end(t, now), id) end
    kept[#kept + 1] = 1
  else
    kept[#kept + 1] = 0
  end
end
return kept
