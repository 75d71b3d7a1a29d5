-- Needs base, record, book, shelf. One grant, and the end of one; `close_holds` writes what they
-- gathered.
local held, deadlines, unheld, undue = {}, {}, {}, {}

local function gather(lists, key, value)
  local list = lists[key]
  if not list then
    list = {}
    lists[key] = list
  end
  list[#list + 1] = value
end
local function hold(id, t, session, deadline)
  news[#news + 1] = id
  gather(held, session, id)
  deadlines[#deadlines + 1] = deadline
  deadlines[#deadlines + 1] = id
  if has(t, QUARANTINE) then call('HSET', K .. 'z:' .. session, t[LANE], id) end
end

local function unhold(id, t, session)
  gather(unheld, session, id)
  undue[#undue + 1] = id
  if t[CANCEL] > 0 then call('ZREM', K .. 'cd', id) end
  if has(t, QUARANTINE) then
    call('HDEL', K .. 'z:' .. session, t[LANE])
    wake_lane(t)
  end
end

-- A script either holds or unholds a task, never both.
local function close_holds()
  for session, ids in pairs(held) do call_sliced('SADD', K .. 'sh:' .. session, ids) end
  for session, ids in pairs(unheld) do call_sliced('SREM', K .. 'sh:' .. session, ids) end
  call_sliced('ZADD', K .. 'dl', deadlines)
  call_sliced('ZREM', K .. 'dl', undue)
  held, deadlines, unheld, undue = {}, {}, {}, {}
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
  unwatch_wait(id, t)
  t[STARTED], t[CANCEL] = now, 0
  local x = tail_of(rec, t)
  x[1], x[2], x[4] = session.id, session.worker, ''
  hold(id, t, session.id, attempt_end(t, now))
  return assemble(rec, t, x)
end
