#!lua flags=allow-oom
-- A retrying or scheduled task becomes ready now.
-- KEYS  1 start of the partition's keys
-- ARGV  1 task id
-- Returns { record, payload apart }, or nil: it does not wait for a time
-- @include base
-- @include record
-- @include book
-- @include shelf
-- @include grant
-- @include plain
-- @include bundle
-- @include directory
-- @include settle
local id = ARGV[1]
local rec = record_of(id)
local t = rec and parse(rec)
if not t or (t[STATUS] ~= SCHEDULED and t[STATUS] ~= RETRYING) then return nil end
local now = now_ms()
call('ZREM', K .. 'd', id)
recount(t, t[STATUS], PENDING)
t[STATUS], t[VERSION], t[READY] = PENDING, t[VERSION] + 1, now
put_ready(id, rec, t)
call('SETRANGE', record_key(id), 0, head_of(t))
news[1] = id
close_shelves()
close_books(now)
return { whole(id, with_head(rec, t)), payload_apart(id, t) }
