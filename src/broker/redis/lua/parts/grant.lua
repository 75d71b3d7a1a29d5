-- Needs base, record, book, shelf. One grant, and the end of one.
local function hold(id, t, session, deadline)
  call('SADD', K .. 'sh:' .. session, id)
  call('ZADD', K .. 'dl', deadline, id)
  if has(t, QUARANTINE) then call('HSET', K .. 'z:' .. session, t[LANE], id) end
end

local function unhold(id, t, session)
  call('SREM', K .. 'sh:' .. session, id)
  call('ZREM', K .. 'dl', id)
  if t[CANCEL] > 0 then call('ZREM', K .. 'cd', id) end
  if has(t, QUARANTINE) then
    call('HDEL', K .. 'z:' .. session, t[LANE])
    wake_lane(t)
  end
end

local function is_live(session, now)
  local expires = call('ZSCORE', K .. 'sl', session)
  return expires and tonumber(expires) > now
end

-- The record after the grant; the caller stores it.
local function grant(id, rec, t, session, token, now)
  recount(t, t[STATUS], RUNNING)
  t[STATUS], t[VERSION], t[ATTEMPT] = RUNNING, t[VERSION] + 1, t[ATTEMPT] + 1
  clear(t, LOST)
  clear(t, RESTORED)
  clear(t, SEEN_RUNNING)
  t[SETTLED_BY], t[TOKEN] = 0, token
  t[STARTED], t[CANCEL] = now, 0
  local x = tail_of(rec, t)
  x[1], x[2], x[4] = session.id, session.worker, ''
  hold(id, t, session.id, now + t[TIMEOUT])
  return assemble(rec, t, x)
end
