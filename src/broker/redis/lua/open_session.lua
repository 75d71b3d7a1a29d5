#!lua flags=allow-oom
-- Opens or resumes a session in the partition, and says what became of the leases it holds.
-- KEYS  1 start of the partition's keys
-- ARGV  1 session id  2 generation  3 lease in ms  4 info  5 worker's name  6 start of the
-- namespace's queue names
--       then per held token: task id, token (fencing number and secret)
-- Returns { 'opened', resumed, time, kept { id, record }, revoked indexes, missing indexes, lost in
-- transit { id, record } }
--       or { 'superseded', generation }. A COLD partition takes sessions: a rebuild adopts their
--       tokens.
-- @include base
-- @include record
-- @include tomb
-- @include book
-- @include shelf
-- @include grant
-- @include plain
-- @include bundle
-- @include directory
-- @include session
local session, generation, lease_ms = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local worker, namespace = ARGV[5], ARGV[6]
local known = generation_of(session)
if known > generation then return { 'superseded', known } end
local now = now_ms()
local resumed = is_live(session, now)

call('HSET', session_key(session), 'g', generation, 'i', ARGV[4], 'w', worker)
call('PERSIST', session_key(session))
set_end(session, now + lease_ms)
call('SREM', K .. 'lv', session)

-- Its task again: the lease was lost, or the store forgot it, and nobody else has it.
local function adopt(id, rec, t, x, token)
  unshelve(id, rec, t)
  recount(t, t[STATUS], RUNNING)
  if t[STARTED] == 0 then t[STARTED] = now end
  if fencing_of(token) > fencing_of(t[TOKEN]) then t[ATTEMPT] = t[ATTEMPT] + 1 end
  t[STATUS], t[VERSION], t[TOKEN], t[READY], t[SETTLED_BY] = RUNNING, t[VERSION] + 1, token, 0, 0
  clear(t, LOST)
  clear(t, RESTORED)
  clear(t, SEEN_RUNNING)
  x[1], x[2] = session, worker
  own().fencing, own().granted = math.max(own().fencing, fencing_of(token)), true
  hold(id, t, session, attempt_end(t, now))
  -- A request to stop that history brought back: its grace begins anew.
  if t[CANCEL] > 0 then call('ZADD', K .. 'cd', now + CANCEL_GRACE_MS, id) end
  local after = assemble(rec, t, x)
  call('SET', record_key(id), after)
  return after
end

local function judge(id, token)
  local rec = record_of(id)
  if not rec then return tombstone_of(id, now) and 'revoked' or 'missing' end
  local t = parse(rec)
  local queue = call('HGET', K .. 'qn', t[QUEUE]) or ''
  if string.sub(queue, 1, #namespace) ~= namespace or t[STATUS] >= DONE then return 'revoked' end
  local x = tail_of(rec, t)
  if t[STATUS] == RUNNING then
    if t[TOKEN] == token and x[1] == session then return 'kept', rec end
    return 'revoked'
  end
  local lost = has(t, LOST) and t[TOKEN] == token and x[1] == session
  -- History may lag: a later grant than it knows is believed, the last one only if it saw it
  -- running.
  local known_to_history = fencing_of(t[TOKEN]) + (has(t, SEEN_RUNNING) and 0 or 1)
  local restored = has(t, RESTORED) and fencing_of(token) >= known_to_history
  if lost or restored then return 'kept', adopt(id, rec, t, x, token) end
  return 'revoked'
end

bundle.untie_members(call('ZRANGE', held_key(session), 0, -1))
local listed, kept, revoked, missing, in_transit = {}, {}, {}, {}, {}
for i = 7, #ARGV, 2 do
  local id = ARGV[i]
  local verdict, rec = judge(id, ARGV[i + 1])
  if verdict == 'kept' then
    listed[id] = true
    kept[#kept + 1] = { id, whole(id, rec) }
  elseif verdict == 'revoked' then
    revoked[#revoked + 1] = (i - 7) / 2
  else
    missing[#missing + 1] = (i - 7) / 2
  end
end
for _, id in ipairs(call('ZRANGE', held_key(session), 0, -1)) do
  local rec = not listed[id] and record_of(id)
  if rec then in_transit[#in_transit + 1] = { id, whole(id, rec) } end
end
close_shelves()
close_holds()
close_books(now)
return { 'opened', resumed and 1 or 0, digits(now), kept, revoked, missing, in_transit }
