-- Needs base, record. What a script owes the shared books, gathered while it runs and written by
-- `close_books`.
local counted, live, woken, told, told_bytes, told_kind, told_list, told_entry
each_call(function()
  counted, live, woken, told, told_bytes = {}, {}, {}, {}, 0
  told_kind, told_list, told_entry = 'm', '', ''
end)

-- Of a lane, beside its clocks, how many tasks live.
local function clock_key(lane) return K .. 'v:' .. lane end

-- One cell per priority and status: a number, as forming a text for each task is dear.
local function count(queue, priority, status, by)
  if status >= DONE then return end
  local row = counted[queue]
  if not row then
    row = {}
    counted[queue] = row
  end
  local cell = priority * 16 + status
  row[cell] = (row[cell] or 0) + by
end

-- Moves a task from one status to another in the counts.
local function recount(t, from, to)
  local queue, priority, lane = t[QUEUE], t[PRIORITY], t[LANE]
  if from then count(queue, priority, from, -1) end
  count(queue, priority, to, 1)
  if not from then live[lane] = (live[lane] or 0) + 1 end
  if to >= DONE then live[lane] = (live[lane] or 0) - 1 end
end

local function wake_lane(t) woken[t[LANE]] = t[QUEUE] end

-- Tells history of the record as it is now, `apart` bytes of it being in keys of their own. All
-- that a script tells stands in one entry of the outbox; returns its place there, and the snapshot.
local function tell_of(id, rec, status, flags, spec_bytes, payload_bytes, outcome, apart)
  local snap = snapshot(whole(id, rec), flags, spec_bytes, payload_bytes)
  local n = #told
  told[n + 1] = pack('>BBc16', outcome, flags % 2, id)
  told[n + 2] = snap
  told_bytes = told_bytes + #snap + apart + 128
  -- The end of a DURABLE task is shown, and so told, once history has it: see recorded.lua.
  if status < DONE or band(flags, RELAXED) ~= 0 then news[#news + 1] = id end
  return n / 2 + bundle.more, snap
end

local function tell(id, rec, t, outcome, apart)
  local spec_bytes, payload_bytes = t[SPEC_BYTES], t[PAYLOAD_BYTES]
  return tell_of(id, rec, t[STATUS], t[FLAGS], spec_bytes, payload_bytes, outcome, apart)
end

-- One entry of the outbox. One string at once: table.concat makes longer and longer ones, and each
-- is hashed whole. For the same reason the items of tasks that ended together stand beside it.
local NOTHING = {}
local function write_outbox(n, kind, packed, now, beside)
  local mine = own()
  mine.owed, mine.owed_bytes, mine.told = mine.owed + n, mine.owed_bytes + told_bytes, true
  local head = pack('>I4I2d', told_bytes, n, now)
  local entry = call('XADD', K .. 'ob', '*', 'h', head, kind, packed, unpack(beside or NOTHING))
  -- Which of them history holds: see recorded.lua.
  if n > 1 then call('HSET', K .. 'oc', entry, string.rep('0', n)) end
  told_entry = entry .. '/' .. n .. '/' .. digits(told_bytes)
  if kind == 'e' then told_entry = told_entry .. '/e' end
  return entry
end

-- All that a script tells: new tasks, packed as enqueue.lua gets its plain items. Answers the birth
-- of the first; those of the others follow. Where they have any, the entry's name says so.
local function tell_as_came(ids, n, packed, now)
  told_bytes = #packed + n * 128
  for i = 1, #ids do news[i] = ids[i] end
  local entry = write_outbox(n, 'p', packed, now)
  local birth = n > 1 and n <= 256 and birth_of(entry) or 0
  if birth > 0 then told_entry = told_entry .. '/p' end
  return birth
end

-- Puts more behind the snapshot told last.
local function append_told(more)
  local n = #told
  told[n] = told[n] .. more
  told_bytes = told_bytes + #more
end

-- Answers the outbox entry: its id, transitions, bytes; or '' if there was nothing to tell. May be
-- repeated.
local function close_outbox(now)
  local n = #told / 2 + bundle.more
  if n > 0 then
    for _, head in ipairs(bundle.heads or {}) do told[#told + 1] = head end
    told_list = cmsgpack.pack(told)
    write_outbox(n, told_kind, told_list, now, bundle.beside)
    told, bundle.more, bundle.beside = {}, 0, {}
  end
  return told_entry
end

local function close_books(now)
  local entry = close_outbox(now)
  for queue, row in pairs(counted) do
    local key = queue_key(queue)
    for cell, by in pairs(row) do
      local status = cell % 16
      if by ~= 0 then call('HINCRBY', key, (cell - status) / 16 .. ':' .. status, by) end
    end
  end
  for lane, by in pairs(live) do
    if by ~= 0 then call('HINCRBY', clock_key(lane), 'live', by) end
  end
  for lane, queue in pairs(woken) do
    local paused = call('HGET', queue_key(queue), 'paused') == '1'
    local name = not paused and call('HGET', K .. 'ln', lane)
    if name then call('ZADD', K .. 'mk:' .. name, 0, '1') end
  end
  close_numbers()
  tell_watchers('t')
  return entry
end
