#!lua
-- Ends waiting tasks for others that take their place (B17). Refused over maxmemory: it brings in
-- as much as a submission.
-- KEYS  1 start of the partition's keys
-- ARGV  1 store id
--       then per item: task id, start of the namespace's queue names, 1 if one that has ever
--       started stays, reason, successor: as it follows a snapshot
-- Returns { outbox entry, time, per item { 'replaced', as settle.lua's accepted } | { 'held' |
-- 'over' | 'unknown' | 'cold' | 'outbox_full' } }
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
local cold = is_cold(ARGV[1])
local room, room_bytes = outbox_room()

local function replace(id, namespace, unstarted, reason, successor)
  local rec = record_of(id)
  local t = rec and parse(rec)
  local tomb = not t and tombstone_of(id, now)
  if tomb and is_owed(tomb) then return { 'over' } end
  local queue = t and call('HGET', K .. 'qn', t[QUEUE])
  if not queue or string.sub(queue, 1, #namespace) ~= namespace then return { 'unknown' } end
  if t[STATUS] >= DONE or (unstarted and t[STARTED] > 0) then return { 'over' } end
  if cold then return { 'cold' } end
  if t[STATUS] == RUNNING or t[CANCEL] > 0 then return { 'held' } end
  if room <= 0 or room_bytes <= 0 then return { 'outbox_full' } end
  rec = cancel_waiting(id, rec, t, reason, now)
  local reply = { 'replaced', announce(id, rec, t, SUCCEEDED) }
  append_told(successor)
  room, room_bytes = room - 1, room_bytes - #rec - #successor - 128
  return reply
end

local replies = {}
for i = 2, #ARGV, 5 do
  local unstarted = ARGV[i + 2] == '1'
  replies[#replies + 1] = replace(ARGV[i], ARGV[i + 1], unstarted, ARGV[i + 3], ARGV[i + 4])
end
close_shelves()
return { close_books(now), digits(now), replies }
