#!lua flags=no-writes
-- Where the outbox tells of tasks that ended and left no record (B9).
-- KEYS  1 start of the partition's keys
-- ARGV  task ids
-- Returns by turns for those of them that history has yet to learn of: place in ARGV (from 0),
--       outbox entry, place there
-- @include base
-- @include record
-- @include tomb
if call('XLEN', K .. 'ob') == 0 then return {} end
local now = now_ms()
local found, tombs_by_id = {}, tombs_of(ARGV, now)
for i = 1, #ARGV do
  local tomb = tombs_by_id[ARGV[i]]
  if tomb and is_owed(tomb) then
    local n = #found
    found[n + 1], found[n + 2], found[n + 3] = i - 1, tomb.entry, tomb.place
  end
end
return found
