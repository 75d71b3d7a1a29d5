#!lua flags=allow-oom
-- Ends what waits, asks what runs to stop, and plants a tombstone for what is not here (B8).
-- KEYS  1 start of the partition's keys
-- ARGV  per item: task id, start of the namespace's queue names, grace in ms, run of a tombstone to
-- plant
-- Returns per item { 'cancelled', as settle.lua's accepted from 2 } | { 'requested', record,
-- payload apart }
--       | { 'final', record, payload apart, result apart } | { 'unknown' }
-- @include base
-- @include record
-- @include book
-- @include shelf
-- @include grant
-- @include settle
local now = now_ms()

local function request(id, rec, t, grace)
  if t[CANCEL] == 0 then
    t[CANCEL] = now
    call('ZADD', K .. 'cd', now + grace, id)
    call('SETRANGE', record_key(id), 0, head_of(t))
    news[#news + 1] = id
  end
  publish('c' .. id .. tail_of(rec, t)[1])
  return { 'requested', head_of(t) .. string.sub(rec, HEAD_BYTES + 1), payload_apart(id, t) }
end

local function cancel(id, namespace, grace, run)
  local rec = call('GET', record_key(id))
  if not rec then
    plant(id, run, now)
    return { 'unknown' }
  end
  local t = parse(rec)
  local queue = call('HGET', K .. 'qn', t[QUEUE])
  if not queue or string.sub(queue, 1, #namespace) ~= namespace then return { 'unknown' } end
  if t[STATUS] >= DONE then
    local result = has(t, RESULT_APART) and call('GET', K .. 'r:' .. id) or ''
    return { 'final', rec, payload_apart(id, t), result }
  end
  if t[STATUS] == RUNNING then return request(id, rec, t, grace) end
  unshelve(id, rec, t)
  local x = tail_of(rec, t)
  finish(t, CANCELLED, now)
  t[READY] = 0
  clear(t, LOST)
  local entry, snap, with_payload = tell(id, rec, t, x, 0, now)
  call('SET', record_key(id), assemble(rec, t, x))
  local apart = with_payload and payload_apart(id, t) or ''
  return { 'cancelled', entry, digits(now), 0, with_payload and 0 or 1, snap, apart }
end

local replies = {}
for i = 1, #ARGV, 4 do
  replies[#replies + 1] = cancel(ARGV[i], ARGV[i + 1], tonumber(ARGV[i + 2]), tonumber(ARGV[i + 3]))
end
close_shelves()
close_books()
return replies
