#!lua flags=allow-oom
-- Notes how far running attempts are, or only that they live; unknown and stale tokens are ignored.
-- KEYS  1 start of the partition's keys
-- ARGV  per item: task id, token (fencing number and secret), session id, progress, packed,
--       or '' for a mere sign of life
-- Returns how many were noted
-- @include base
-- @include record
-- @include book
-- @include shelf
-- @include grant
-- @include plain
-- @include bundle
-- @include directory
local now = now_ms()
local noted = 0
for i = 1, #ARGV, 4 do
  local id = ARGV[i]
  local rec = record_of(id)
  local t = rec and parse(rec)
  if t and t[STATUS] == RUNNING and t[TOKEN] == ARGV[i + 1] then
    local x = tail_of(rec, t)
    local own = x[1] == ARGV[i + 2]
    if own and t[HEARTBEAT] > 0 then
      call('ZADD', K .. 'sh:' .. x[1], 'XX', attempt_end(t, now), id)
    end
    if own and ARGV[i + 3] ~= '' then
      x[4] = ARGV[i + 3]
      call('SET', record_key(id), assemble(rec, t, x))
      noted = noted + 1
      news[noted] = id
    end
  end
end
tell_watchers('t')
return noted
