-- Needs base, record, book, shelf. One grant, and the end of one; `close_holds` writes what they
-- gathered.
--
-- A session's leases stand in a sorted set by when their attempts must end. Among the sessions it
-- stands in `dl` by when the first of them may have to: a time that is only brought forward here,
-- and that a sweep sets right once it has come.
local held, firsts, first_ends, unheld, uncancelled
-- Many attempts of a call end at the same time: its text is formed once.
local times
each_call(function()
  held, firsts, first_ends, unheld, uncancelled = {}, {}, {}, {}, {}
  times = {}
end)

local function held_key(session) return K .. 'sh:' .. session end

local function note_first_end(session, deadline)
  call('ZADD', K .. 'dl', 'LT', digits(deadline), session)
  call('HSET', session_key(session), 'd', digits(deadline))
end

-- A grant brings it forward, which mostly needs no write: what is noted of the session says a time
-- that it is not after.
local function bring_first_end(session, deadline)
  local known = first_ends[session]
  if known == nil then known = tonumber(call('HGET', session_key(session), 'd') or nil) end
  if known and known <= deadline then return end
  first_ends[session] = deadline
  note_first_end(session, deadline)
end

-- Sets it right; nil: it holds no lease.
local function set_first_end(session, deadline)
  if deadline then
    call('ZADD', K .. 'dl', deadline, session)
    call('HSET', session_key(session), 'd', deadline)
  else
    call('ZREM', K .. 'dl', session)
    call('HDEL', session_key(session), 'd')
  end
end

local function gather(lists, key, value)
  local list = lists[key]
  if not list then
    list = {}
    lists[key] = list
  end
  list[#list + 1] = value
end

local AFTER_GRANT = 255 - LOST - RESTORED - SEEN_RUNNING

-- `member`: a task, or a slice of a bundle.
local function hold_until(session, deadline, member)
  local list = held[session]
  if not list then
    list = {}
    held[session], firsts[session] = list, deadline
  elseif deadline < firsts[session] then
    firsts[session] = deadline
  end
  local time = times[deadline]
  if not time then
    time = digits(deadline)
    times[deadline] = time
  end
  local n = #list
  list[n + 1], list[n + 2] = time, member
end

local function hold_plain(id, session, deadline)
  news[#news + 1] = id
  hold_until(session, deadline, id)
end

local function hold(id, t, session, deadline)
  hold_plain(id, session, deadline)
  if has(t, QUARANTINE) then call('HSET', K .. 'z:' .. session, t[LANE], id) end
end

local function unhold(id, t, session)
  gather(unheld, session, id)
  if t[CANCEL] > 0 then uncancelled[#uncancelled + 1] = id end
  if has(t, QUARANTINE) then
    call('HDEL', K .. 'z:' .. session, t[LANE])
    wake_lane(t)
  end
end

-- May be repeated: what a script unholds and holds again needs that in between.
local function close_holds()
  for session, list in pairs(held) do
    add_sorted(held_key(session), list)
    bring_first_end(session, firsts[session])
  end
  for session, ids in pairs(unheld) do call_sliced('ZREM', held_key(session), ids) end
  call_sliced('ZREM', K .. 'cd', uncancelled)
  held, firsts, unheld, uncancelled = {}, {}, {}, {}
end

local function end_of(session) return tonumber(call('HGET', session_key(session), 'e') or 0) end
local function is_live(session, now) return end_of(session) > now end

-- When the lease of a session ends stands in `sl`, and with what else is known of it.
local function set_end(session, at)
  call('ZADD', K .. 'sl', digits(at), session)
  call('HSET', session_key(session), 'e', digits(at))
end

local function clear_end(session)
  call('ZREM', K .. 'sl', session)
  call('HDEL', session_key(session), 'e')
end

-- What lease.lua answers.
local function granted_reply(run, lost, more)
  local granted = #run.granted > 0 and cmsgpack.pack(run.granted) or ''
  return { 'ok', more and 1 or 0, lost, granted, run.aparts, run.slices }
end
