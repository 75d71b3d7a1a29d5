#!lua flags=allow-oom
-- Ends what waits, asks what runs to stop, and plants a tombstone for what is not here (B8).
-- KEYS  1 start of the partition's keys
-- ARGV  per item: task id, start of the namespace's queue names, grace in ms, run of a tombstone to
-- plant, reason
-- Returns { outbox entry, time, per item { 'cancelled', as settle.lua's accepted } | { 'requested',
-- record, payload apart, and for the first request as settle.lua's accepted } | { 'final', record,
-- payload apart, result apart } | { 'told' }: it ended, left no record, and
-- the outbox tells of it | { 'unknown' } }
-- @include base
-- @include record
-- @include tomb
-- @include book
-- @include shelf
-- @include grant
-- @include plain
-- @include bundle
-- @include directory
-- @include settle
local now = now_ms()

-- The first request is told to history, and so outlives the store; later ones repeat the hint and
-- may shorten the grace.
local function request(id, rec, t, grace, reason)
  local x, told_of = tail_of(rec, t), {}
  if t[CANCEL] == 0 then
    t[CANCEL], t[VERSION] = now, t[VERSION] + 1
    x[6] = string.rep('\0', 18) .. reason
    rec = assemble(rec, t, x)
    told_of = { announce(id, rec, t, 0) }
    call('SET', record_key(id), rec)
    call('ZADD', K .. 'cd', now + grace, id)
  else
    call('ZADD', K .. 'cd', 'LT', now + grace, id)
  end
  local left = tonumber(call('ZSCORE', K .. 'cd', id)) - now
  publish('c' .. id .. pack('>I4', math.max(0, left)) .. x[1])
  return { 'requested', whole(id, rec), payload_apart(id, t), unpack(told_of) }
end

local function cancel(id, namespace, grace, run, reason)
  local rec = record_of(id)
  if not rec then
    local tomb = tombstone_of(id, now)
    if tomb and tomb.run >= run and is_owed(tomb) then return { 'told' } end
    plant(id, run, now)
    return { 'unknown' }
  end
  local t = parse(rec)
  local queue = call('HGET', K .. 'qn', t[QUEUE])
  if not queue or string.sub(queue, 1, #namespace) ~= namespace then return { 'unknown' } end
  if t[STATUS] >= DONE then
    local result = has(t, RESULT_APART) and call('GET', K .. 'r:' .. id) or ''
    return { 'final', whole(id, rec), payload_apart(id, t), result }
  end
  if t[STATUS] == RUNNING then return request(id, rec, t, grace, reason) end
  rec = cancel_waiting(id, rec, t, reason, now)
  return { 'cancelled', announce(id, rec, t, 0) }
end

local replies = {}
for i = 1, #ARGV, 5 do
  local grace, run = tonumber(ARGV[i + 2]), tonumber(ARGV[i + 3])
  replies[#replies + 1] = cancel(ARGV[i], ARGV[i + 1], grace, run, ARGV[i + 4])
end
close_shelves()
close_tombs(now)
return { close_books(now), digits(now), replies }
