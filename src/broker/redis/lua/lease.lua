#!lua flags=allow-oom
-- Grants ready tasks to sessions with room (B2, B3, B4, B10, B13). Runs over maxmemory too: a full
-- store must drain.
-- KEYS  1 start of the partition's keys
-- ARGV  1 store id read at connect  2 highest fencing number seen  3 bytes of the reply  4 eight
-- random bytes a grant
--       5 number of lanes  6 number of sessions  then lane names, then per session: id, generation,
--       slots
-- Returns { 'ok' | 'cold' | 'outbox_full', more, indexes of lost sessions, leases: session index,
-- id, record, payload }
-- @include base
-- @include record
-- @include book
-- @include shelf
-- @include grant
-- @include take
if is_cold(ARGV[1]) then return { 'cold', 0, {}, {} } end
local now = now_ms()
local names, sessions, at = {}, {}, 7
for i = 1, tonumber(ARGV[5]) do names[i] = ARGV[at + i - 1] end
at = at + #names
for i = 1, tonumber(ARGV[6]) do
  local generation, slots = tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])
  sessions[i] = { index = i - 1, id = ARGV[at], generation = generation, slots = slots }
  at = at + 3
end
local found, lost = find_sessions(sessions, now)
if outbox_full() then return { 'outbox_full', 0, lost, {} } end
promote_due(now, LEASE_PROMOTES)
close_shelves()
local run = new_run(found, tonumber(ARGV[3]), tonumber(ARGV[2]), ARGV[4], now)
local more = serve(run, names)
close_shelves()
close_holds()
close_books()
return { 'ok', more and 1 or 0, lost, run.out }
