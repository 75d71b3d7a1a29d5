#!lua flags=allow-oom
-- The request to stop went out on the stream of the session that runs the task. The first counts.
-- KEYS  1 start of the partition's keys
-- ARGV  per item: task id, token (fencing number and secret), session id
-- Returns how many were noted
-- @include base
-- @include record
-- @include book
-- @include shelf
-- @include grant
-- @include plain
-- @include bundle
-- @include directory
-- @include settle
local now = now_ms()
local noted = 0
for i = 1, #ARGV, 3 do
  local id = ARGV[i]
  local rec = record_of(id)
  local t = rec and parse(rec)
  if t and t[STATUS] == RUNNING and t[CANCEL] > 0 and t[TOKEN] == ARGV[i + 1] then
    local x = tail_of(rec, t)
    if x[1] == ARGV[i + 2] then
      note_step(x, DELIVERED, now)
      call('SET', record_key(id), assemble(rec, t, x))
      noted = noted + 1
      news[noted] = id
    end
  end
end
tell_watchers('t')
return noted
