#!lua flags=allow-oom
-- Shortens a session's lease after a broken stream, or ends it after a goodbye; not if a newer
-- generation took over.
-- KEYS  1 start of the partition's keys
-- ARGV  1 session id  2 generation  3 ms that remain at most; -1: it said goodbye
-- Returns 1 if it applied
-- @include base
-- @include record
-- @include book
-- @include shelf
-- @include grant
-- @include session
local session, left = ARGV[1], tonumber(ARGV[3])
if generation_of(session) ~= tonumber(ARGV[2]) then return 0 end
local now = now_ms()
if left >= 0 then
  if end_of(session) > now + left then set_end(session, now + left) end
  return 1
end
if call('EXISTS', held_key(session)) == 0 then
  forget_session(session)
  return 1
end
clear_end(session)
call('SADD', K .. 'lv', session)
return 1
