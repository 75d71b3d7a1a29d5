#!lua flags=allow-oom
-- History knows these to have ended: takes out what the store still has of their run or an earlier
-- one, and plants tombstones. What the store itself ended, or a later run, stays.
-- KEYS  1 start of the partition's keys
-- ARGV  per item: task id, run
-- Returns how many were planted
-- @include base
-- @include record
-- @include tomb
-- @include book
-- @include shelf
-- @include grant
-- @include plain
-- @include bundle
-- @include directory
-- @include settle
local now = now_ms()
local planted = 0

local function forget(id, rec, t)
  if t[STATUS] == RUNNING then
    unhold(id, t, session_of(rec, t))
  else
    unshelve(id, rec, t)
  end
  count(t[QUEUE], t[PRIORITY], t[STATUS], -1)
  live[t[LANE]] = (live[t[LANE]] or 0) - 1
  call('DEL', record_key(id), K .. 'p:' .. id, K .. 'r:' .. id, checkpoint_key(id))
end

for i = 1, #ARGV, 2 do
  local id, run = ARGV[i], tonumber(ARGV[i + 1])
  local rec = record_of(id)
  local t = rec and parse(rec)
  if not t or (t[RUN] <= run and t[STATUS] < DONE) then
    if t then forget(id, rec, t) end
    plant(id, run, now)
    planted = planted + 1
  end
end
close_shelves()
close_holds()
close_tombs(now)
close_books(now)
return planted
