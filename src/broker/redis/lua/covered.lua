#!lua flags=no-writes
-- Which of some new tasks have ended since, so that their births tell history nothing more (B9).
-- KEYS  1 start of the partition's keys
-- ARGV  1 task ids, packed one after another
-- Returns a byte per task: 'r' history holds its end, 't' the outbox tells of its end, '-' no such
--       end is known: it lives, or is kept as a record, or was planted without a grant
-- @include base
-- @include record
-- @include tomb
local ids, fates = {}, {}
for at = 1, #ARGV[1], 16 do ids[#ids + 1] = sub(ARGV[1], at, at + 15) end
local found = tombs_of(ids, now_ms())
for i = 1, #ids do
  local tomb = found[ids[i]]
  local granted = tomb and tomb.settled_by > 0
  fates[i] = not granted and '-' or is_owed(tomb) and 't' or 'r'
end
return table.concat(fates)
