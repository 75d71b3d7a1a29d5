-- Needs base, record. What a script owes the shared books, gathered while it runs and written by
-- `close_books`.
local counted, lane_tasks, woken = {}, {}, {}

local function bump(book, key, field, by)
  local row = book[key]
  if not row then
    row = {}
    book[key] = row
  end
  row[field] = (row[field] or 0) + by
end

local function count(t, status, by)
  if status < DONE then bump(counted, t[QUEUE], t[PRIORITY] .. ':' .. status, by) end
end

-- Moves a task from one status to another in the counts.
local function recount(t, from, to)
  if from then count(t, from, -1) end
  count(t, to, 1)
  if not from then bump(lane_tasks, 'lc', t[LANE], 1) end
  if to >= DONE then bump(lane_tasks, 'lc', t[LANE], -1) end
end

local function wake_lane(t) woken[t[LANE]] = t[QUEUE] end


-- Tells history. Returns the entry's id and the snapshot it holds.
local function tell(id, rec, t, x, outcome, now)
  local with_payload = not has(t, IN_HISTORY)
  local snap = snapshot(rec, t, x, with_payload)
  local apart = 0
  if with_payload and has(t, PAYLOAD_APART) then apart = call('STRLEN', K .. 'p:' .. id) end
  if has(t, RESULT_APART) then apart = apart + call('STRLEN', K .. 'r:' .. id) end
  local bytes = #snap + apart + 128
  local entry = struct.pack('>I4BBdc16', bytes, outcome, with_payload and 0 or 1, now, id) .. snap
  local entry_id = call('XADD', K .. 'ob', '*', 'e', entry)
  bump(lane_tasks, 'm', 'obb', bytes)
  -- The end of a DURABLE task is shown, and so told, once history has it: see recorded.lua.
  if t[STATUS] < DONE or has(t, RELAXED) then news[#news + 1] = id end
  return entry_id, snap, with_payload
end

local function close_books()
  for queue, row in pairs(counted) do
    for field, by in pairs(row) do
      if by ~= 0 then call('HINCRBY', K .. 'c:' .. queue, field, by) end
    end
  end
  for key, row in pairs(lane_tasks) do
    for field, by in pairs(row) do
      if by ~= 0 then call('HINCRBY', K .. key, field, by) end
    end
  end
  for lane, queue in pairs(woken) do
    local paused = call('HGET', K .. 'q:' .. queue, 'paused') == '1'
    local name = not paused and call('HGET', K .. 'ln', lane)
    if name then call('ZADD', K .. 'mk:' .. name, 0, '1') end
  end
  tell_watchers('t')
end
