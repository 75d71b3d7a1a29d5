-- Needs base, book, shelf. Lanes that tasks come into: found before anything is written, made on
-- first use.
local find_lane, open_lane
do
  -- Lanes that this call adds to each queue, and those it may take the places of.
  local added, unused
  each_call(function() added, unused = {}, {} end)

  -- A queue at its bound gives up a lane without live tasks, but none that this call fills.
  local function unused_lane(queue, lanes)
    local list = unused[queue]
    if not list then
      list = {}
      unused[queue] = list
      local wanted, rows = {}, call('HGETALL', K .. 'll:' .. queue)
      for _, lane in ipairs(lanes) do wanted[lane.name] = true end
      for i = 1, #rows, 2 do
        local tasks = tonumber(call('HGET', clock_key(rows[i]), 'live') or 0)
        local name = rows[i + 1]
        if tasks == 0 and not wanted[name] then list[#list + 1] = { rows[i], name, queue } end
      end
    end
    return table.remove(list)
  end

  function find_lane(lane, lanes)
    if lane.checked then return lane.fits end
    lane.checked, lane.fits = true, true
    lane.found = call('HGET', K .. 'lid', lane.name)
    if lane.found then return true end
    local queue = call('HGET', K .. 'qid', lane.queue)
    local known = queue and call('HLEN', K .. 'll:' .. queue) or 0
    local coming = added[lane.queue] or 0
    if known + coming >= LANES_PER_QUEUE then
      lane.replaces = queue and unused_lane(queue, lanes)
      lane.fits = lane.replaces and true or false
    else
      added[lane.queue] = coming + 1
    end
    return lane.fits
  end

  local function queue_id(lane)
    local id = call('HGET', K .. 'qid', lane.queue)
    if id then return id end
    id = call('HINCRBY', META, 'queues', 1)
    call('HSET', K .. 'qid', lane.queue, id)
    call('HSET', K .. 'qn', id, lane.queue)
    call('SADD', K .. 'nq:' .. lane.namespace, id)
    return id
  end

  -- The lane's number, made on first use; remembers whether it was empty before this call.
  function open_lane(lane)
    local found = lane.found
    if not found then
      if lane.replaces then
        local old, name, queue = unpack(lane.replaces)
        call('HDEL', K .. 'lid', name)
        call('HDEL', K .. 'ln', old)
        call('HDEL', K .. 'll:' .. queue, old)
        call('DEL', clock_key(old), K .. 'mk:' .. name)
      end
      local queue = queue_id(lane)
      local id = call('HINCRBY', META, 'lanes', 1)
      found = id .. ':' .. queue
      call('HSET', K .. 'lid', lane.name, found)
      call('HSET', K .. 'ln', id, lane.name)
      call('HSET', K .. 'll:' .. queue, id, lane.name)
      publish('l' .. lane.queue)
    end
    local id, queue = string.match(found, '^(%d+):(%d+)$')
    lane.id, lane.queue_id = tonumber(id), tonumber(queue)
    lane.was_empty = call('EXISTS', lane_key(lane.id)) == 0
  end
end
