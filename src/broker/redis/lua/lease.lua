#!lua flags=allow-oom
-- Grants ready tasks to sessions with room (B2, B3, B4, B10, B13). Runs over maxmemory too: a full
-- store must drain.
-- KEYS  1 start of the partition's keys
-- ARGV  1 store id read at connect  2 highest fencing number seen  3 bytes of the reply  4 eight
-- random bytes a grant
--       5 number of lanes  6 number of sessions  then lane names, then per session: id, generation,
--       slots
-- Returns { 'ok' | 'cold' | 'outbox_full', more, indexes of lost sessions, packed list of ids and
-- records by turns ('': none), payloads apart: place of the lease (from 0), payload }
-- @include base
-- @include record
-- @include book
-- @include shelf
-- @include grant
-- @include plain
-- @include bundle
-- @include directory
-- @include take
-- @include slice
-- @include asked
local now = now_ms()
local reply = lease_asked(1, now)
close_books(now)
return reply
