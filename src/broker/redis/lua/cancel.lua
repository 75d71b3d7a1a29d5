#!lua flags=allow-oom
-- Ends what waits, asks what runs to stop, and plants a tombstone for what is not here (B8).
-- KEYS  1 start of the partition's keys
-- ARGV  per item: task id, start of the namespace's queue names, grace in ms, run of a tombstone to
-- plant, reason
-- Returns per item { 'cancelled', as settle.lua's accepted from 2 }
--       | { 'requested', the same or nothing to tell, then from 8 record, payload apart }
--       | { 'final', record, payload apart, result apart } | { 'unknown' }
-- @include base
-- @include record
-- @include book
-- @include shelf
-- @include grant
-- @include settle
local now = now_ms()

-- The first request is told to history, and so outlives the store; later ones repeat the hint and
-- may shorten the grace.
local function request(id, rec, t, grace, reason)
  local x = tail_of(rec, t)
  local row = { 'requested', '', '', 0, 0, '', '' }
  if t[CANCEL] == 0 then
    t[CANCEL], t[VERSION] = now, t[VERSION] + 1
    x[6] = string.rep('\0', 18) .. reason
    local entry, snap, with_payload = tell(id, rec, t, x, 0, now)
    local apart = with_payload and payload_apart(id, t) or ''
    row = { 'requested', entry, digits(now), 0, with_payload and 0 or 1, snap, apart }
    rec = assemble(rec, t, x)
    call('SET', record_key(id), rec)
    call('ZADD', K .. 'cd', now + grace, id)
  else
    call('ZADD', K .. 'cd', 'LT', now + grace, id)
  end
  local left = tonumber(call('ZSCORE', K .. 'cd', id)) - now
  publish('c' .. id .. struct.pack('>I4', math.max(0, left)) .. x[1])
  row[8], row[9] = rec, payload_apart(id, t)
  return row
end

local function cancel(id, namespace, grace, run, reason)
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
  if t[STATUS] == RUNNING then return request(id, rec, t, grace, reason) end
  unshelve(id, rec, t)
  local x = tail_of(rec, t)
  t[CANCEL], x[6] = now, string.rep('\0', 18) .. reason
  finish(t, CANCELLED, now)
  t[READY] = 0
  clear(t, LOST)
  local entry, snap, with_payload = tell(id, rec, t, x, 0, now)
  call('SET', record_key(id), assemble(rec, t, x))
  local apart = with_payload and payload_apart(id, t) or ''
  return { 'cancelled', entry, digits(now), 0, with_payload and 0 or 1, snap, apart }
end

local replies = {}
for i = 1, #ARGV, 5 do
  local grace, run = tonumber(ARGV[i + 2]), tonumber(ARGV[i + 3])
  replies[#replies + 1] = cancel(ARGV[i], ARGV[i + 1], grace, run, ARGV[i + 4])
end
close_shelves()
close_books()
return replies
