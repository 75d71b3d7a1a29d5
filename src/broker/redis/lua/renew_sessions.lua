#!lua flags=allow-oom
-- Renews the leases of one coordinator's sessions in a partition; a dead one stays dead (B6).
-- KEYS  1 start of the partition's keys
-- ARGV  per session: id, generation, lease in ms, info or ''
-- Returns per session 'renewed' | 'superseded' | 'gone'
-- @include base
-- @include record
-- @include book
-- @include shelf
-- @include grant
-- @include session
local now = now_ms()
local verdicts = {}
for i = 1, #ARGV, 4 do
  local session, generation = ARGV[i], tonumber(ARGV[i + 1])
  local known = generation_of(session)
  local verdict = 'gone'
  if known > generation then
    verdict = 'superseded'
  elseif known == generation and is_live(session, now) then
    set_end(session, now + tonumber(ARGV[i + 2]))
    if ARGV[i + 3] ~= '' then call('HSET', session_key(session), 'i', ARGV[i + 3]) end
    verdict = 'renewed'
  end
  verdicts[#verdicts + 1] = verdict
end
return verdicts
