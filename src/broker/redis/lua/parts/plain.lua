-- Needs base, record, book, shelf, grant. The same steps for the most common task: its first
-- attempt, ungrouped, without terms or trouble, which completes. They read and write only the
-- fields that change, where the others unpack all into a table; whatever differs in any way is left
-- to those.
local PLAIN_ITEM = '>xI2c16BxBBxxxxxxxxxxI4c0'
local PLAIN_RECORD = '>BBBBI4I4I6c0'
local GRANT = '>BBBBI4I4I6I4I4Bdc8I6I6I6I2I4I4'
local NONE = '\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0'

-- Ready, never granted (from STARTED to TAIL_BYTES there are zeros), free to run at any time.
local function is_plain_wait(rec)
  local status, flags = string.byte(rec, 2, 3)
  return status == PENDING and band(flags, QUARANTINE + PAYLOAD_APART) == 0
    and sub(rec, 44, 71) == NONE and sub(rec, 96, 111) == sub(NONE, 1, 16)
end

-- The record after the grant.
local function grant_plain(id, rec, s, counter, secret, now)
  local a, _, flags, priority, lane, queue, order, version, attempt = read('>BBBBI4I4I6I4I4', rec)
  count(queue, priority, PENDING, -1)
  count(queue, priority, RUNNING, 1)
  hold_plain(id, s.id, now + read('>I4', rec, 92))
  return pack(GRANT, a, RUNNING, band(flags, AFTER_GRANT), priority, lane, queue, order,
    version + 1, attempt + 1, 0, counter, secret, now, 0, 0, 0, 0, #s.tail)
    .. sub(rec, 72) .. s.tail
end

-- The record after a running attempt completed, its session, and the bytes of spec and payload; nil
-- where the plain way is none.
local function complete_plain(rec, token, session, data, now)
  local a, status, flags, priority, lane, queue, order, version, attempt, _, held_by, started, _,
    cancel, _, _, tail = read(HOT, rec)
  if status ~= RUNNING or held_by ~= token or cancel > 0 then return nil end
  if band(flags, QUARANTINE + LOST + PAYLOAD_APART) ~= 0 or #data > INLINE_BYTES then return nil end
  local spec_bytes, payload_bytes = read('>I4I4', rec, 112)
  if read('>I4c0', rec, HEAD_BYTES + spec_bytes + payload_bytes + 1) ~= session then return nil end
  -- Neither a result nor what stands behind it.
  if sub(rec, -12) ~= sub(NONE, 1, 12) then return nil end
  count(queue, priority, RUNNING, -1)
  live[lane] = (live[lane] or 0) - 1
  local head = pack(HOT, a, DONE, flags, priority, lane, queue, order, version + 1, attempt, 1,
    held_by, started, now, 0, 0, version + 1, tail + #data)
  if data == '' then return head .. sub(rec, 72), flags, spec_bytes, payload_bytes end
  local result = pack('>I4c0I4I4', #data, data, 0, 0)
  return head .. sub(rec, 72, -13) .. result, flags, spec_bytes, payload_bytes
end
