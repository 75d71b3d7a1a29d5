-- The packed record: header, spec, payload, tail. record.ts holds the same layout; both change
-- together, with the version. What every grant and end changes stands first, so that hot paths read
-- and write that much only.
local HOT = '>BBBBI4I4I6I7I4I4Bc16I6I6I6I2I4I4'
local HEAD = HOT .. 'I2I2I2I2I4I6I4I6I6I4I4I2'
local HEAD_BYTES = 122
local HEAD_FIELDS = 30
-- Where what a grant leaves alone starts, and where the last two numbers of the header stand.
local REST_AT, SIZES_AT = 79, 117
local SMALL_PAYLOAD = 256
local TAIL = '>I4c0I4c0I4c0I4c0I4c0I4c0I4c0'
-- Places in the unpacked header.
local STATUS, FLAGS, PRIORITY, LANE, QUEUE, ORDER = 2, 3, 4, 5, 6, 7
local BIRTH, VERSION, ATTEMPT, SETTLED_BY, TOKEN = 8, 9, 10, 11, 12
local STARTED, COMPLETED, CANCEL, RELEASES = 13, 14, 15, 16
local SETTLED_AT, TAIL_BYTES = 17, 18
local RUN, LOSSES, RETRIES, GROUP_BYTES = 19, 20, 21, 22
local RECORDED, READY, TIMEOUT = 23, 24, 25
-- 0: none.
local EXPIRE, DEADLINE, HEARTBEAT = 26, 27, 28
local SPEC_BYTES, PAYLOAD_BYTES = 29, 30

local SCHEDULED, PENDING, RUNNING, RETRYING = 1, 2, 3, 4
local DONE, FAILED, CANCELLED, EXPIRED = 5, 6, 7, 8

local IN_HISTORY, RELAXED, QUARANTINE, LOST = 1, 2, 4, 8
local PAYLOAD_APART, RESTORED, RESULT_APART, SEEN_RUNNING = 16, 32, 64, 128

local RECORDS, births
each_call(function() RECORDS, births = K .. 't:', {} end)
local function record_key(id) return RECORDS .. id end

-- Of tasks that stand together: see parts/bundle.lua.
local bundle = { more = 0 }
each_call(function() bundle.more, bundle.beside = 0, {} end)
local function is_bundled(rec) return string.byte(rec) == 255 end

-- The record of one that must stand alone from now on.
local function record_of(id)
  return call('GET', RECORDS .. id) or bundle.part(id)
end

local function time_of(id) return (read('>I6', id)) end

-- Those of some ids that stand one behind another, at most 256; each read alone would cost more.
local function times_in(packed, from, many)
  local times = { read('>' .. string.rep('I6xxxxxxxxxx', many), packed, from) }
  times[many + 1] = nil
  return times
end

-- The newest time of all tasks that ever stood alone: see parts/directory.lua.
function bundle.note_alone(time)
  local mine = own()
  if mine.newest_alone and time <= mine.newest_alone then return end
  mine.newest_alone, mine.stood = time, true
end

-- The place of an id among some that stand one behind another. Its last bytes are those that others
-- do not share.
function bundle.place_among(ids, id)
  local rest, at = sub(id, 9), 0
  repeat
    at = string.find(ids, rest, at + 1, true)
  until not at or (at % 16 == 9 and sub(ids, at - 8, at - 1) == sub(id, 1, 8))
  return at and (at - 9) / 16
end

-- The keys of some tasks, and what stands there.
local function read_records(ids)
  local keys, recs = {}, {}
  for i = 1, #ids do keys[i] = RECORDS .. ids[i] end
  for from = 1, #ids, 1000 do
    local found = call('MGET', unpack(keys, from, math.min(from + 999, #ids)))
    if from == 1 then
      recs = found
    else
      for i = 1, #found do recs[from + i - 1] = found[i] end
    end
  end
  return recs, keys
end

-- Where the outbox told of tasks that came together: the time of its entry, the number after it,
-- the place there. 0: told alone, or not at all.
local function birth_of(entry)
  local ms, number = string.match(entry, '^(%d+)-(%d+)$')
  if tonumber(number) > 31 then return 0 end
  return ((ms - BIRTH_EPOCH_MS) * 32 + number) * 256
end

-- Whether history holds what was told at a birth: recorded.lua notes that with the entry, not in
-- each record.
local function is_born(birth)
  local place = birth % 256
  local entry = (birth - place) / 256
  local held = births[entry]
  if held == nil then
    local number = entry % 32
    local id = digits((entry - number) / 32 + BIRTH_EPOCH_MS) .. '-' .. number
    held = call('HGET', K .. 'oc', id)
    births[entry] = held
  end
  return not held or string.byte(held, place + 1) == 49
end

local function parse(rec)
  local t = { read(HEAD, rec) }
  local birth = t[BIRTH]
  if birth > 0 and t[FLAGS] % 2 == 0 and is_born(birth) then t[FLAGS] = t[FLAGS] + IN_HISTORY end
  return t
end

local function head_of(t)
  return pack(HEAD, unpack(t, 1, HEAD_FIELDS))
end

-- The record with another header.
local function with_head(rec, t) return head_of(t) .. sub(rec, HEAD_BYTES + 1) end

local function has(t, flag) return band(t[FLAGS], flag) ~= 0 end
local function set(t, flag) t[FLAGS] = bor(t[FLAGS], flag) end
local function clear(t, flag) t[FLAGS] = band(t[FLAGS], bnot(flag)) end

local function group_of(rec, t)
  return sub(rec, HEAD_BYTES + 1, HEAD_BYTES + t[GROUP_BYTES])
end

-- session, worker, error, progress, result, cancellation, checkpoint. Absent before the first
-- grant.
local function tail_of(rec, t)
  if t[TAIL_BYTES] == 0 then return { '', '', '', '', '', '', '' } end
  local at = HEAD_BYTES + t[SPEC_BYTES] + t[PAYLOAD_BYTES] + 1
  return { read(TAIL, rec, at) }
end

-- A large checkpoint has a key of its own: grants, retries and progress would carry it along. In
-- its place, at the end of the record, stands one byte that begins no checkpoint.
local APART = '\255'
local function checkpoint_key(id) return K .. 'h:' .. id end

local function has_checkpoint_apart(rec)
  if string.byte(rec, -1) ~= 255 or sub(rec, -5) ~= '\0\0\0\1\255' then return false end
  local t = parse(rec)
  return t[TAIL_BYTES] > 0 and tail_of(rec, t)[7] == APART
end

-- The first part of the tail alone.
local function session_of(rec, t)
  if t[TAIL_BYTES] == 0 then return '' end
  return (read('>I4c0', rec, HEAD_BYTES + t[SPEC_BYTES] + t[PAYLOAD_BYTES] + 1))
end

local function pack_tail(x)
  local a, b, c, d, e, f, g = unpack(x, 1, 7)
  return pack(TAIL, #a, a, #b, b, #c, c, #d, d, #e, e, #f, f, #g, g)
end

-- The whole record with this header and packed tail.
local function with_tail(rec, t, tail)
  t[TAIL_BYTES] = #tail
  local body = sub(rec, HEAD_BYTES + 1, HEAD_BYTES + t[SPEC_BYTES] + t[PAYLOAD_BYTES])
  return head_of(t) .. body .. tail
end

local function assemble(rec, t, x) return with_tail(rec, t, pack_tail(x)) end

-- A record as it leaves the store.
local function whole(id, rec)
  if not has_checkpoint_apart(rec) then return rec end
  local t = parse(rec)
  local x = tail_of(rec, t)
  x[7] = call('GET', checkpoint_key(id)) or ''
  return assemble(rec, t, x)
end

-- The section of this checkpoint in the record of its task; what is large is put into its key.
local function put_checkpoint(id, before, data)
  if #data > INLINE_BYTES then
    call('SET', checkpoint_key(id), data)
    return APART
  end
  if before == APART then call('DEL', checkpoint_key(id)) end
  return data
end

-- A record as history is told of it: without the payload where history has the row already, unless
-- cutting it out would cost more than carrying it.
local function snapshot(rec, flags, spec_bytes, payload_bytes)
  if payload_bytes <= SMALL_PAYLOAD or flags % 2 ~= IN_HISTORY then return rec end
  local spec_end = HEAD_BYTES + spec_bytes
  local spec, tail = sub(rec, HEAD_BYTES + 1, spec_end), sub(rec, spec_end + payload_bytes + 1)
  return sub(rec, 1, HEAD_BYTES - 2) .. '\0\0' .. spec .. tail
end

local function fencing_of(token)
  return (read('>d', token))
end

-- When a waiting task must end, 0: never. Both times bound the first run; whoever begins another
-- one wants it to run.
local function wait_end(t)
  if t[RUN] > 1 then return 0 end
  local at = t[DEADLINE]
  if t[EXPIRE] > 0 and t[STARTED] == 0 and (at == 0 or t[EXPIRE] < at) then at = t[EXPIRE] end
  return at
end

-- A waiting task that may not be leased any more.
local function is_over(t, now)
  if t[CANCEL] > 0 then return true end
  if t[EXPIRE] == 0 and t[DEADLINE] == 0 then return false end
  local at = wait_end(t)
  return at > 0 and at <= now
end

local function is_past_deadline(t, at)
  return t[DEADLINE] > 0 and t[RUN] == 1 and at >= t[DEADLINE]
end

-- When the attempt that runs must end, if it is not heard of after `heard`.
local function attempt_end(t, heard)
  local at = t[STARTED] + t[TIMEOUT]
  if t[HEARTBEAT] > 0 then at = math.min(at, heard + t[HEARTBEAT]) end
  if is_past_deadline(t, at) then at = t[DEADLINE] end
  return at
end
