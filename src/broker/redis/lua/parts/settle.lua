-- Needs base, record, book, shelf, grant. How tasks end or come back.
local function finish(t, status, now)
  recount(t, t[STATUS], status)
  t[STATUS], t[VERSION], t[COMPLETED] = status, t[VERSION] + 1, now
end

-- As record.ts packs an error that is not retryable: flags, code, message; both shorter than 128
-- bytes.
local function packed_error(code, message)
  return '\0' .. string.char(#code) .. code .. string.char(#message) .. message
end

-- Notes in the proof of a cancel (see packCancellation of sections.ts) the time of a step, once.
local DELIVERED, ACKNOWLEDGED, FORCED = 1, 2, 3
local function note_step(x, step, now)
  if x[6] == '' then x[6] = string.rep('\0', 18) end
  local times = { struct.unpack('>I6I6I6', x[6]) }
  if times[step] == 0 then times[step] = now end
  x[6] = struct.pack('>I6I6I6', times[1], times[2], times[3]) .. string.sub(x[6], 19)
end

-- Back among the waiting, unless somebody asked for its end: then this is it.
local function wait_again(id, rec, t, status, at, now)
  if t[CANCEL] > 0 then
    t[READY] = 0
    return finish(t, CANCELLED, now)
  end
  recount(t, t[STATUS], status)
  t[STATUS], t[VERSION], t[READY] = status, t[VERSION] + 1, at
  if status == PENDING then
    put_ready(id, rec, t)
  else
    put_delayed(id, t, at)
  end
end

-- Ends a task that waits, on somebody's request; returns its record.
local function cancel_waiting(id, rec, t, reason, now)
  unshelve(id, rec, t)
  local x = tail_of(rec, t)
  t[CANCEL], x[6] = now, string.rep('\0', 18) .. reason
  finish(t, CANCELLED, now)
  t[READY] = 0
  clear(t, LOST)
  rec = assemble(rec, t, x)
  call('SET', record_key(id), rec)
  return rec
end

local function payload_apart(id, t)
  if not has(t, PAYLOAD_APART) then return '' end
  return call('GET', K .. 'p:' .. id) or ''
end

-- Beside the ways an attempt ends: behind the snapshot stands the task that takes its place.
local SUCCEEDED = 7

-- Tells history of a task that a call ended or moved, and whom it answers: place in the outbox
-- entry, payload omitted, snapshot, payload apart.
local function announce(id, rec, t, outcome)
  local omitted = has(t, IN_HISTORY)
  local apart = omitted and '' or payload_apart(id, t)
  local bytes = #apart
  if has(t, RESULT_APART) then bytes = bytes + call('STRLEN', K .. 'r:' .. id) end
  local place, snap = tell(id, rec, t, outcome, bytes)
  return place, omitted and 1 or 0, snap, apart
end
