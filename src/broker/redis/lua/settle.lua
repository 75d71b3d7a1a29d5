#!lua flags=allow-oom
-- The only way out of RUNNING (B5): compares the whole token and the session, then ends the lease.
-- KEYS  1 start of the partition's keys
-- ARGV  1 the items, packed one after another: kind (1 complete 2 fail 3 timeout 4 release 5 cancel
--       6 lose), task id, token (fencing number and secret), the session that reports it (its place
--       among the sessions; 0: none), the result or the error, packed; then (0 pending 1 quarantine
--       2 poison), delay in ms (-1: none). Or several that complete and whose tokens follow one
--       another: kind 8 (9 where whoever asks does not know the tasks), session, how many, the
--       first token, if any has a result all of them, each behind its length; then their ids
--       2 number of sessions  then sessions
--       then, to lease behind it, as lease.lua's ARGV from 1; nothing without it
-- Returns { outbox entry, time, verdicts, told, payloads apart, tasks, lease.lua's reply or nil }:
--       a byte per task ('a' accepted, 'd' duplicate, 'r' duplicate that is recorded, 's' stale);
--       of the accepted ones what the entry tells (see outbox.ts), those of several before all
--       others; by turns the place in it of a payload apart, and that payload; and by turns the
--       ids and the bodies of each several that were accepted as such ('' for kind 8)
-- @include base
-- @include record
-- @include tomb
-- @include book
-- @include shelf
-- @include grant
-- @include plain
-- @include bundle
-- @include directory
-- @include take
-- @include slice
-- @include asked
-- @include settle
-- @include alone
-- @before settle_alone
local COMPLETE, FAIL, TIMED_OUT, RELEASE, CANCEL_NOW, LOSE = 1, 2, 3, 4, 5, 6
local KNOWN_RUN, UNKNOWN_RUN = 8, 9
local QUARANTINED, POISON = 1, 2
local now = now_ms()

local function poison(losses)
  local message = losses .. ' workers were lost while they ran this task; at most '
  return packed_error('poison', message .. LEASE_LOSSES_MAX .. ' may be')
end

-- The parts of each item by its place. Of several of one task each sees what the one before left:
-- `at` is the place of the first, where the record stands: read at once, changed here, written at
-- the end.
local ids, kinds, tokens, sessions, datas, nexts, delays = {}, {}, {}, {}, {}, {}, {}
local at, first = {}, {}
-- Where among the verdicts theirs stands.
local verdicts, nths, runs, asked = {}, {}, {}, {}
-- Of the tombstones, those of RELAXED tasks: nobody waits to hear that history holds their ends.
local quiet = 0

local function note_item(kind, id, token, session, data, next, delay)
  local n = #ids + 1
  kinds[n], ids[n], tokens[n], sessions[n], datas[n] = kind, id, token, session, data
  nexts[n], delays[n], nths[n] = next, delay, #verdicts + 1
  verdicts[nths[n]] = ''
  at[n] = first[id] or n
  first[id] = at[n]
end

-- Several that were leased together and complete together: at once, or else one by one.
local function read_run(packed, from)
  local kind, place, many, counter, secret, results, to = read(SETTLE_RUN, packed, from)
  local session, wanted, result_at = ARGV[place + 2], sub(packed, to, to + many * 16 - 1), 1
  local run, bodies = bundle.complete_run(session, many, counter, secret, results, wanted)
  if run then
    local last, is_asked = #asked, kind == UNKNOWN_RUN
    runs[#runs + 1], quiet = run, quiet + run.quiet
    asked[last + 1], asked[last + 2] = is_asked and wanted or '', is_asked and bodies or ''
    verdicts[#verdicts + 1] = string.rep('a', many)
  end
  for i = 1, run and 0 or many do
    local data = ''
    if results ~= '' then data, result_at = read('>I4c0', results, result_at) end
    local token = pack('>d', counter + i - 1) .. secret
    note_item(COMPLETE, sub(wanted, i * 16 - 15, i * 16), token, session, data, 0, -1)
  end
  return to + many * 16
end

do
  local packed, from = ARGV[1], 1
  while from <= #packed do
    if string.byte(packed, from) >= KNOWN_RUN then
      from = read_run(packed, from)
    else
      local kind, id, token, place, data, next, delay, to = read(SETTLE_ITEM, packed, from)
      note_item(kind, id, token, place > 0 and ARGV[place + 2], data, next, delay)
      from = to
    end
  end
end
local recs, keys = read_records(ids)
bundle.stand_in(ids, recs)
local written, writes = {}, {}

local ends = {}
ends[COMPLETE] = function(n, t, x)
  finish(t, DONE, now)
  t[RELEASES], x[7] = 0, put_checkpoint(ids[n], x[7], '')
  if #datas[n] > INLINE_BYTES then
    call('SET', K .. 'r:' .. ids[n], datas[n])
    set(t, RESULT_APART)
  else
    x[5] = datas[n]
  end
end
ends[FAIL] = function(n, t, x)
  t[RELEASES], x[3] = 0, datas[n]
  -- A retry that could only begin when the task must have ended is none.
  local delay = delays[n]
  local late = t[CANCEL] == 0 and is_past_deadline(t, now + delay)
  if delay < 0 or late then return finish(t, FAILED, now) end
  t[RETRIES] = t[RETRIES] + 1
  wait_again(ids[n], recs[at[n]], t, RETRYING, now + delay, now)
end
ends[TIMED_OUT] = ends[FAIL]
ends[RELEASE] = function(n, t)
  local delay = delays[n]
  -- -1: no worker has seen it.
  if delay >= 0 then t[RELEASES] = t[RELEASES] + 1 end
  delay = math.max(0, delay)
  wait_again(ids[n], recs[at[n]], t, delay > 0 and SCHEDULED or PENDING, now + delay, now)
end
ends[CANCEL_NOW] = function(_, t)
  t[RELEASES] = 0
  finish(t, CANCELLED, now)
end
ends[LOSE] = function(n, t, x)
  t[LOSSES], t[RELEASES] = t[LOSSES] + 1, 0
  if nexts[n] == POISON then
    x[3] = poison(t[LOSSES])
    return finish(t, FAILED, now)
  end
  set(t, LOST)
  local rec = recs[at[n]]
  if nexts[n] ~= QUARANTINED then return wait_again(ids[n], rec, t, PENDING, now, now) end
  set(t, QUARANTINE)
  wait_again(ids[n], rec, t, RETRYING, now + delays[n], now)
end

-- Of a task that ended the plain way only its tombstone and what history is told stay. `ended_by`:
-- by the place where its record stood, the item that ended it.
local ended_by = {}
local ended = { ids = {}, runs = {}, tokens = {}, sessions = {}, places = {}, keys = {} }

local function leave_tombstone(n, run, place)
  local last = #ended.ids + 1
  recs[at[n]], ended_by[at[n]] = false, n
  ended.ids[last], ended.keys[last], ended.runs[last] = ids[n], keys[at[n]], run
  ended.tokens[last], ended.sessions[last], ended.places[last] = tokens[n], sessions[n], place
end

local function close_runs(entry)
  for _, run in ipairs(runs) do
    entomb_run(entry, COMPLETE, run, now)
  end
end

local function close_ended(entry)
  if #ended.ids == 0 then return end
  local runs, places = ended.runs, ended.places
  entomb_told(entry, COMPLETE, ended.ids, runs, ended.tokens, ended.sessions, places, now)
  call('DEL', unpack(ended.keys))
end

local function keep(n, rec)
  local place = at[n]
  recs[place] = rec
  if written[place] then
    writes[written[place]] = rec
  else
    local last = #writes
    writes[last + 1], writes[last + 2], written[place] = keys[place], rec, last + 2
  end
end

local aparts = {}

-- Nil where it is not plain.
local function apply_plain(n, rec)
  if kinds[n] ~= COMPLETE or not sessions[n] then return nil end
  local id = ids[n]
  local flags, run = complete_plain(rec, tokens[n], sessions[n], datas[n])
  if not flags then return nil end
  gather(unheld, sessions[n], id)
  leave_tombstone(n, run, tell_completed(id, rec, flags, datas[n]))
  if band(flags, RELAXED) ~= 0 then quiet = quiet + 1 end
  return 'a'
end

local function apply(n, rec, t, session)
  local id, kind = ids[n], kinds[n]
  if t[STATUS] == RUNNING then
    unhold(id, t, session)
  else
    unshelve(id, rec, t)
  end
  clear(t, LOST)
  local x = tail_of(rec, t)
  if t[CANCEL] > 0 then note_step(x, sessions[n] and ACKNOWLEDGED or FORCED, now) end
  ends[kind](n, t, x)
  t[SETTLED_BY], t[SETTLED_AT] = kind, t[VERSION]
  local after = assemble(rec, t, x)
  keep(n, after)
  local place, _, _, apart = announce(id, after, t, kind)
  if apart ~= '' then aparts[#aparts + 1], aparts[#aparts + 2] = place, apart end
  return 'a'
end

local function from_tombstone(n)
  local tomb = tombstone_of(ids[n], now)
  local same = tomb and tomb.token == tokens[n] and tomb.settled_by == kinds[n]
  if not same or (sessions[n] and sessions[n] ~= tomb.session) then return 's' end
  return is_owed(tomb) and 'd' or 'r'
end

-- By this call.
local function has_just_ended(n, by)
  local same = kinds[n] == COMPLETE and tokens[n] == tokens[by]
  return same and (not sessions[n] or sessions[n] == sessions[by]) and 'd' or 's'
end

-- Nil where it has to stand alone.
local function apply_bundled(n, rec)
  if kinds[n] ~= COMPLETE or not sessions[n] then return nil end
  local verdict, place, more_quiet = bundle.complete(rec, ids[n], tokens[n], sessions[n], datas[n])
  if verdict == 'a' then
    leave_tombstone(n, 1, place)
    quiet = quiet + more_quiet
  end
  return verdict
end

local function judge(n)
  local rec, kind, by = recs[at[n]], kinds[n], ended_by[at[n]]
  if by then return has_just_ended(n, by) end
  if rec and is_bundled(rec) then
    local verdict = apply_bundled(n, rec)
    if verdict then return verdict end
    rec = record_of(ids[n])
    recs[at[n]] = rec or recs[at[n]]
  end
  if not rec then return from_tombstone(n) end
  local plain = apply_plain(n, rec)
  if plain then return plain end
  local t = parse(rec)
  local session = session_of(rec, t)
  if t[TOKEN] ~= tokens[n] or (sessions[n] and sessions[n] ~= session) then return 's' end
  if t[STATUS] == RUNNING then
    if kind == LOSE and is_live(session, now) then return 's' end
    return apply(n, rec, t, session)
  end
  if kind == COMPLETE and has(t, LOST) and t[STATUS] < DONE then
    return apply(n, rec, t, session)
  end
  if t[SETTLED_BY] == kind then return t[RECORDED] >= t[SETTLED_AT] and 'r' or 'd' end
  return 's'
end

for n = 1, #ids do verdicts[nths[n]] = judge(n) end
count_plain()
set_all(writes)
close_shelves()
bundle.fill()
bundle.close()
close_holds()
if quiet > 0 and quiet == #told / 2 + bundle.more then told_kind = 'e' end
local entry = close_outbox(now)
close_ended(entry)
close_runs(entry)
close_tombs(now)
local leased = lease_asked(tonumber(ARGV[2]) + 3, now)
close_books(now)
return { entry, digits(now), table.concat(verdicts), told_list, aparts, asked, leased }
