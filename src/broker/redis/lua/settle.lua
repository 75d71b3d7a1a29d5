#!lua flags=allow-oom
-- The only way out of RUNNING (B5): compares the whole token and the session, then ends the lease.
-- KEYS  1 start of the partition's keys
-- ARGV  1 the items, packed one after another: task id, token (fencing number and secret), kind (1
--       complete 2 fail 3 timeout 4 release 5 cancel 6 lose), then (0 pending 1 quarantine 2
--       poison), the session that reports it (its place in ARGV from 2; 0: none), delay in ms (-1:
--       none), the result or the error, packed
--       then sessions
-- Returns { outbox entry, time, verdicts, accepted }: a byte per item, 'a' accepted, 'd' duplicate,
--       'r' duplicate that is recorded, 's' stale; and for each accepted one: place in the entry,
--       payload omitted, snapshot, payload apart
-- @include base
-- @include record
-- @include tomb
-- @include book
-- @include shelf
-- @include grant
-- @include plain
-- @include settle
local COMPLETE, FAIL, TIMED_OUT, RELEASE, CANCEL_NOW, LOSE = 1, 2, 3, 4, 5, 6
local QUARANTINED, POISON = 1, 2
local now = now_ms()

local function poison(losses)
  local message = losses .. ' workers were lost while they ran this task; at most '
  return packed_error('poison', message .. LEASE_LOSSES_MAX .. ' may be')
end

local items, ids = {}, {}
local function next_item(from)
  local id, token, kind, following, session, delay, data, to =
    read('>c16c16BBI2dI4c0', ARGV[1], from)
  local n = #ids + 1
  ids[n] = id
  items[n] = {
    id = id, token = token, kind = kind, next = following, delay = delay, data = data,
    session = session > 0 and ARGV[session + 1],
  }
  return to
end
local from = 1
while from <= #ARGV[1] do from = next_item(from) end
-- Records by id: read at once, changed here, written at the end.
local recs, keys = read_records(ids)
local known, dirty, writes = {}, {}, {}
for i, id in ipairs(ids) do known[id] = recs[i] end

local ends = {}
ends[COMPLETE] = function(item, t, x)
  finish(t, DONE, now)
  t[RELEASES], x[7] = 0, ''
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

local function keep(item, rec)
  local id = item.id
  known[id] = rec
  if not dirty[id] then
    writes[#writes + 1], writes[#writes + 2] = keys[item.place], rec
    dirty[id] = #writes
  else
    writes[dirty[id]] = rec
  end
end

local accepted = {}
local function accept(place, omitted, snap, apart)
  local n = #accepted
  accepted[n + 1], accepted[n + 2], accepted[n + 3], accepted[n + 4] = place, omitted, snap, apart
  return 'a'
end

-- Nil where it is not plain.
local function apply_plain(item)
  if item.kind ~= COMPLETE or not item.session then return nil end
  local id = item.id
  local rec, flags, spec_bytes, payload_bytes =
    complete_plain(item.rec, item.token, item.session, item.data, now)
  if not rec then return nil end
  gather(unheld, item.session, id)
  undue[#undue + 1] = id
  keep(item, rec)
  local place, snap = tell_of(id, rec, DONE, flags, spec_bytes, payload_bytes, COMPLETE, 0)
  return accept(place, flags % 2, snap, '')
end

local function apply(item, t, session)
  local id = item.id
  if t[STATUS] == RUNNING then
    unhold(id, t, session)
  else
    unshelve(id, item.rec, t)
  end
  clear(t, LOST)
  local x = tail_of(item.rec, t)
  if t[CANCEL] > 0 then note_step(x, item.session and ACKNOWLEDGED or FORCED, now) end
  ends[item.kind](item, t, x)
  t[SETTLED_BY], t[SETTLED_AT] = item.kind, t[VERSION]
  local rec = assemble(item.rec, t, x)
  keep(item, rec)
  return accept(announce(id, rec, t, item.kind))
end

local function from_tombstone(item)
  local tomb = tombstone_of(item.id, now)
  local same = tomb and tomb.token == item.token and tomb.settled_by == item.kind
  if same and (not item.session or item.session == tomb.session) then return 'r' end
  return 's'
end

local function judge(item)
  item.rec = known[item.id]
  if not item.rec then return from_tombstone(item) end
  local plain = apply_plain(item)
  if plain then return plain end
  local t = parse(item.rec)
  local session = session_of(item.rec, t)
  if t[TOKEN] ~= item.token or (item.session and item.session ~= session) then return 's' end
  if t[STATUS] == RUNNING then
    if item.kind == LOSE and is_live(session, now) then return 's' end
    return apply(item, t, session)
  end
  if item.kind == COMPLETE and has(t, LOST) and t[STATUS] < DONE then
    return apply(item, t, session)
  end
  if t[SETTLED_BY] == item.kind then return t[RECORDED] >= t[SETTLED_AT] and 'r' or 'd' end
  return 's'
end

local verdicts = {}
for i, item in ipairs(items) do
  item.place = i
  verdicts[i] = judge(item)
end
set_all(writes)
close_shelves()
close_holds()
return { close_books(now), digits(now), table.concat(verdicts), accepted }
