-- The packed record: header, spec, payload, tail. record.ts holds the same layout; both change
-- together, with the version.
local HEAD = '>BBBBI4I4I4I2I2I4I4I2I2BI4I4c16I6I6I6I6I6I4I6I6I4I4I4I4'
local HEAD_BYTES = 119
local HEAD_FIELDS = 29
local TAIL = '>I4c0I4c0I4c0I4c0I4c0I4c0I4c0'
-- Places in the unpacked header.
local STATUS, FLAGS, PRIORITY, LANE, QUEUE = 2, 3, 4, 5, 6
local VERSION, RUN, LOSSES, ATTEMPT = 7, 8, 9, 10
local RETRIES, RELEASES, GROUP_BYTES, SETTLED_BY, RECORDED, SETTLED_AT = 11, 12, 13, 14, 15, 16
local TOKEN, ORDER, READY, STARTED, COMPLETED = 17, 18, 19, 20, 21
local CANCEL, TIMEOUT = 22, 23
-- 0: none.
local EXPIRE, DEADLINE, HEARTBEAT = 24, 25, 26
local SPEC_BYTES, PAYLOAD_BYTES, TAIL_BYTES = 27, 28, 29

local SCHEDULED, PENDING, RUNNING, RETRYING = 1, 2, 3, 4
local DONE, FAILED, CANCELLED, EXPIRED = 5, 6, 7, 8

local IN_HISTORY, RELAXED, QUARANTINE, LOST = 1, 2, 4, 8
local PAYLOAD_APART, RESTORED, RESULT_APART, SEEN_RUNNING = 16, 32, 64, 128

-- Planted for ended tasks: run, when it is forgotten, how the last grant was settled, its token,
-- its session.
local function entomb(id, run, expires, settled_by, token, session)
  local tomb = struct.pack('>I4dBc16', run, expires, settled_by, token) .. session
  call('SET', K .. 'x:' .. id, tomb, 'PX', TOMBSTONE_MS)
end

local function read_tombstone(tomb, now)
  if not tomb then return nil end
  local run, expires, settled_by, token, at = struct.unpack('>I4dBc16', tomb)
  if expires <= now then return nil end
  return { run = run, settled_by = settled_by, token = token, session = string.sub(tomb, at) }
end

local function tombstone_of(id, now)
  return read_tombstone(call('GET', K .. 'x:' .. id), now)
end

local function record_key(id) return K .. 't:' .. id end

-- Records of many tasks by id, in few calls.
local function records_of(ids)
  local recs = {}
  for from = 1, #ids, 500 do
    local keys = {}
    for i = from, math.min(from + 499, #ids) do keys[#keys + 1] = record_key(ids[i]) end
    for i, rec in ipairs(call('MGET', unpack(keys))) do recs[ids[from + i - 1]] = rec end
  end
  return recs
end

local function parse(rec)
  return { struct.unpack(HEAD, rec) }
end

local function head_of(t)
  return struct.pack(HEAD, unpack(t, 1, HEAD_FIELDS))
end

local function has(t, flag) return bit.band(t[FLAGS], flag) ~= 0 end
local function set(t, flag) t[FLAGS] = bit.bor(t[FLAGS], flag) end
local function clear(t, flag) t[FLAGS] = bit.band(t[FLAGS], bit.bnot(flag)) end

local function group_of(rec, t)
  return string.sub(rec, HEAD_BYTES + 1, HEAD_BYTES + t[GROUP_BYTES])
end

-- session, worker, error, progress, result, cancellation, checkpoint. Absent before the first
-- grant.
local function tail_of(rec, t)
  if t[TAIL_BYTES] == 0 then return { '', '', '', '', '', '', '' } end
  local at = HEAD_BYTES + t[SPEC_BYTES] + t[PAYLOAD_BYTES] + 1
  return { struct.unpack(TAIL, rec, at) }
end

local function pack_tail(x)
  local a, b, c, d, e, f, g = unpack(x, 1, 7)
  return struct.pack(TAIL, #a, a, #b, b, #c, c, #d, d, #e, e, #f, f, #g, g)
end

-- The whole record with this header and tail.
local function assemble(rec, t, x)
  local body = string.sub(rec, HEAD_BYTES + 1, HEAD_BYTES + t[SPEC_BYTES] + t[PAYLOAD_BYTES])
  local tail = pack_tail(x)
  t[TAIL_BYTES] = #tail
  return head_of(t) .. body .. tail
end

-- A record as history is told of it: without the payload where history has the row already.
local function snapshot(rec, t, x, with_payload)
  if with_payload then return assemble(rec, t, x) end
  local spec = string.sub(rec, HEAD_BYTES + 1, HEAD_BYTES + t[SPEC_BYTES])
  local tail = pack_tail(x)
  local payload_bytes = t[PAYLOAD_BYTES]
  t[TAIL_BYTES] = #tail
  t[PAYLOAD_BYTES] = 0
  local snap = head_of(t) .. spec .. tail
  t[PAYLOAD_BYTES] = payload_bytes
  return snap
end

local function fencing_of(token)
  return (struct.unpack('>d', token))
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
