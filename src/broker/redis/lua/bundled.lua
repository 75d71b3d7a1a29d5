#!lua flags=no-writes
-- The records that tasks of bundles would have alone.
-- KEYS  1 start of the partition's keys
-- ARGV  task ids
-- Returns per task its record, or nil: it stands in no bundle
-- @include base
-- @include record
-- @include book
-- @include shelf
-- @include grant
-- @include plain
-- @include bundle
local records = {}
for i = 1, #ARGV do
  local rec = call('GET', record_key(ARGV[i]))
  records[i] = rec and is_bundled(rec) and bundle.record(rec) or false
end
return records
