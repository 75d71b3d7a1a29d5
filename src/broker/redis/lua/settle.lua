#!lua flags=allow-oom
-- The only way out of RUNNING (B5): compares the whole token and the session, then ends the lease.
-- KEYS  1 start of the partition's keys
-- ARGV  per item: task id, token (fencing number and secret), session or '', control, data
--       control: kind (1 complete 2 fail 3 timeout 4 release 5 cancel 6 lose), then (0 pending 1
--       quarantine 2 poison), whether a session reports it, delay in ms (-1: none); data: the
--       result or the error, packed
-- Returns per item { 'accepted', outbox id, time, outcome, payload omitted, snapshot, payload apart
-- }
--       or { 'duplicate', recorded } or { 'stale' }
-- @include base
-- @include record
-- @include book
-- @include shelf
-- @include grant
-- @include settle
local COMPLETE, FAIL, TIMED_OUT, RELEASE, CANCEL_NOW, LOSE = 1, 2, 3, 4, 5, 6
local QUARANTINED, POISON = 1, 2
local now = now_ms()

local function poison(losses)
  local message = losses .. ' workers were lost while they ran this task; at most '
  return packed_error('poison', message .. LEASE_LOSSES_MAX .. ' may be')
end

-- Records by id: read at once, changed here, written at the end.
local ids, known, changed = {}, nil, {}
for i = 1, #ARGV, 5 do ids[#ids + 1] = ARGV[i] end
known = records_of(ids)

local ends = {}
ends[COMPLETE] = function(item, t, x)
  finish(t, DONE, now)
  t[RELEASES] = 0
  if #item.data > INLINE_BYTES then
    call('SET', K .. 'r:' .. item.id, item.data)
    set(t, RESULT_APART)
  else
    x[5] = item.data
  end
end
ends[FAIL] = function(item, t, x)
  t[RELEASES], x[3] = 0, item.data
  -- A retry that could only begin when the task must have ended is none.
  local late = t[CANCEL] == 0 and is_past_deadline(t, now + item.delay)
  if item.delay < 0 or late then return finish(t, FAILED, now) end
  t[RETRIES] = t[RETRIES] + 1
  wait_again(item.id, item.rec, t, RETRYING, now + item.delay, now)
end
ends[TIMED_OUT] = ends[FAIL]
ends[RELEASE] = function(item, t)
  t[RELEASES] = t[RELEASES] + 1
  wait_again(item.id, item.rec, t, item.delay > 0 and SCHEDULED or PENDING, now + item.delay, now)
end
ends[CANCEL_NOW] = function(_, t)
  t[RELEASES] = 0
  finish(t, CANCELLED, now)
end
ends[LOSE] = function(item, t, x)
  t[LOSSES], t[RELEASES] = t[LOSSES] + 1, 0
  if item.next == POISON then
    x[3] = poison(t[LOSSES])
    return finish(t, FAILED, now)
  end
  set(t, LOST)
  if item.next ~= QUARANTINED then return wait_again(item.id, item.rec, t, PENDING, now, now) end
  set(t, QUARANTINE)
  wait_again(item.id, item.rec, t, RETRYING, now + item.delay, now)
end

local function apply(item, t, x)
  if t[STATUS] == RUNNING then
    unhold(item.id, t, x[1])
  else
    unshelve(item.id, item.rec, t)
  end
  clear(t, LOST)
  if t[CANCEL] > 0 then note_step(x, item.session and ACKNOWLEDGED or FORCED, now) end
  ends[item.kind](item, t, x)
  t[SETTLED_BY], t[SETTLED_AT] = item.kind, t[VERSION]
  local entry, snap, with_payload = tell(item.id, item.rec, t, x, item.kind, now)
  known[item.id] = assemble(item.rec, t, x)
  changed[item.id] = true
  local apart = with_payload and payload_apart(item.id, t) or ''
  return { 'accepted', entry, digits(now), item.kind, with_payload and 0 or 1, snap, apart }
end

local function from_tombstone(item)
  local tomb = tombstone_of(item.id, now)
  local same = tomb and tomb.token == item.token and tomb.settled_by == item.kind
  if same and (not item.session or item.session == tomb.session) then return { 'duplicate', 1 } end
  return { 'stale' }
end

local function judge(item)
  item.rec = known[item.id]
  if not item.rec then return from_tombstone(item) end
  local t = parse(item.rec)
  local x = tail_of(item.rec, t)
  if t[TOKEN] ~= item.token or (item.session and item.session ~= x[1]) then return { 'stale' } end
  if t[STATUS] == RUNNING then
    if item.kind == LOSE and is_live(x[1], now) then return { 'stale' } end
    return apply(item, t, x)
  end
  if item.kind == COMPLETE and has(t, LOST) and t[STATUS] < DONE then return apply(item, t, x) end
  if t[SETTLED_BY] == item.kind then
    return { 'duplicate', t[RECORDED] >= t[SETTLED_AT] and 1 or 0 }
  end
  return { 'stale' }
end

local replies = {}
for i = 1, #ARGV, 5 do
  local kind, following, reported, delay = struct.unpack('>BBBd', ARGV[i + 3])
  replies[#replies + 1] = judge({
    id = ARGV[i], token = ARGV[i + 1], session = reported == 1 and ARGV[i + 2],
    kind = kind, next = following, delay = delay, data = ARGV[i + 4],
  })
end
local writes = {}
for id in pairs(changed) do
  writes[#writes + 1] = record_key(id)
  writes[#writes + 1] = known[id]
end
set_all(writes)
close_shelves()
close_holds()
close_books()
return replies
