#!lua flags=no-writes
-- The records that tasks of bundles would have alone.
-- KEYS  1 start of the partition's keys
-- ARGV  task ids
-- Returns per task its record, or '': it stands alone by now, or nil: it does not stand here
-- @include base
-- @include record
-- @include book
-- @include shelf
-- @include grant
-- @include plain
-- @include bundle
-- @include directory
local records, refs = {}, bundle.among(ARGV)
for i = 1, #ARGV do
  local ref = refs[ARGV[i]]
  if call('EXISTS', record_key(ARGV[i])) == 1 then
    records[i] = ''
  else
    records[i] = ref and bundle.record(ref) or false
  end
end
return records
