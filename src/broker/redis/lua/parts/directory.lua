-- Needs base, record, book, shelf, grant, plain, bundle. In which bundle a task stands. By the time
-- that ids carry the names of the bundles with tasks of that time: those that come together are of
-- a few milliseconds, where a key for each would cost more than all else that is done for it.
-- Whether a bundle holds a task its ids say.
--
-- Of those that ever stood in one, and of those that ever stood alone, the partition's numbers say
-- the newest time: what is newer has not to be looked for, and tasks that come for the first time
-- mostly are.
local NAME_BYTES, TIME_BYTES = 6, 6
-- So many bundles of a time are looked through; tasks that would stand in more stand alone.
local BUNDLES_PER_TIME = 64
do
  local function directory_key() return K .. 'bt' end

  local function names_at(fields)
    local names = {}
    for from = 1, #fields, 1000 do
      local to = math.min(from + 999, #fields)
      for n, found in ipairs(call('HMGET', directory_key(), unpack(fields, from, to))) do
        names[from + n - 1] = found or ''
      end
    end
    return names
  end

  local function times_of_bundle(b)
    local fields = {}
    for at = 1, #b.times, TIME_BYTES do fields[#fields + 1] = sub(b.times, at, at + 5) end
    return fields
  end

  -- The bundles of these names.
  local function each_named(names)
    local at = 1 - NAME_BYTES
    return function()
      local b
      repeat
        at = at + NAME_BYTES
        b = at < #names and bundle.of(sub(names, at, at + 5))
      until b or at >= #names
      return b or nil
    end
  end

  local function all_ids(b)
    b.ids = b.ids or bundle.ids_of(b, 0, b.count)
    return b.ids
  end

  -- Whether the task at this place stood there when the call began: what the call itself has ended
  -- it may be asked for again.
  local function stood_at(b, place)
    if place >= b.next then return true end
    local slice = bundle.slice_of(b, place)
    return slice and string.byte(slice.before, place - slice.from + 1) == 0
  end

  local function ref_among(names, id)
    for b in each_named(names) do
      local place = bundle.place_among(all_ids(b), id)
      if place and stood_at(b, place) then return '\255' .. b.name .. string.char(place) end
    end
  end

  -- What stands for the records of those of these tasks that stand in bundles, by their ids.
  function bundle.among(ids)
    local fields, names, found = {}, {}, {}
    for _, id in ipairs(ids) do
      local time = sub(id, 1, TIME_BYTES)
      if not names[time] and time_of(id) <= own().newest_together then
        names[time], fields[#fields + 1] = '', time
      end
    end
    for n, there in ipairs(names_at(fields)) do names[fields[n]] = there end
    for _, id in ipairs(ids) do found[id] = ref_among(names[sub(id, 1, TIME_BYTES)] or '', id) end
    return found
  end

  -- Puts that into the places of records that are not there.
  function bundle.stand_in(ids, recs)
    local absent = {}
    for n, id in ipairs(ids) do
      if not recs[n] then absent[#absent + 1] = id end
    end
    if #absent == 0 then return end
    local refs = bundle.among(absent)
    for n, id in ipairs(ids) do recs[n] = recs[n] or refs[id] or false end
  end

  -- The bundle and the slice that this was granted of.
  function bundle.find_grant(session, counter, secret, id)
    local names = call('HGET', directory_key(), sub(id, 1, TIME_BYTES))
    for b in each_named(names or '') do
      for _, slice in ipairs(b.slices) do
        local nth = counter - slice.counter
        local is_in = nth >= 0 and nth < slice.count
        if is_in and slice.secret == secret and slice.session == session then return b, slice end
      end
    end
  end

  -- Of each id its time, and by turns with it the bytes that others do not share: read as what is
  -- always a number, as the first bits of these are 10 in every UUID.
  local formats = {}
  local function parts_of(packed, from, many)
    formats[many] = formats[many] or '>' .. string.rep('I6xxd', many)
    return { read(formats[many], packed, from) }
  end

  -- What is known of some that come together, and their last bytes; nil: one of them came twice.
  local function read_new(packed, from, many)
    local parts, rests, new = parts_of(packed, from, many), {}, { fields = {}, times = {} }
    local fields, times, seen, last, oldest, newest = new.fields, new.times, {}, nil, 2 ^ 48, 0
    for n = 1, many do
      local time, rest = parts[n * 2 - 1], parts[n * 2]
      if rests[rest] then return nil end
      rests[rest], times[n] = true, time
      if time ~= last and not seen[time] then
        last, seen[time], fields[#fields + 1] = time, true, pack('>I6', time)
        oldest, newest = math.min(oldest, time), math.max(newest, time)
      end
    end
    new.oldest, new.newest = oldest, newest
    return new, rests
  end

  local function has_any(b, rests)
    local theirs = parts_of(all_ids(b), 1, b.count)
    for n = 2, b.count * 2, 2 do
      if rests[theirs[n]] then return true end
    end
    return false
  end

  local function stand_alone(packed, from, new)
    local newest, keys = own().newest_alone, {}
    if newest and new.oldest > newest then return false end
    for n, time in ipairs(new.times) do
      if not newest or time <= newest then
        local at = from + n * 16
        keys[#keys + 1] = record_key(sub(packed, at - 16, at - 1))
      end
    end
    return call('EXISTS', unpack(keys)) > 0
  end

  -- Some that come together, at most 256, whose ids stand there: their times, and by the field of
  -- each the names there. Nil where one of them may be there already, or came twice.
  function bundle.newcomers(packed, from, many)
    local new, rests = read_new(packed, from, many)
    if not new then return nil end
    new.names = names_at(new.fields)
    local looked = {}
    for _, names in ipairs(new.names) do
      if #names >= BUNDLES_PER_TIME * NAME_BYTES then return nil end
      for b in each_named(names) do
        if not looked[b] and has_any(b, rests) then return nil end
        looked[b] = true
      end
    end
    if stand_alone(packed, from, new) then return nil end
    return new
  end

  function bundle.enlist(name, new)
    local row, fields, mine = {}, new.fields, own()
    if new.newest > mine.newest_together then
      mine.newest_together, mine.tied = new.newest, true
    end
    for n = 1, #fields do row[n * 2 - 1], row[n * 2] = fields[n], new.names[n] .. name end
    call('HSET', directory_key(), unpack(row))
    return table.concat(fields)
  end

  function bundle.strike(b)
    local fields, kept, gone = times_of_bundle(b), {}, {}
    for n, names in ipairs(names_at(fields)) do
      local rest = ''
      for at = 1, #names, NAME_BYTES do
        local name = sub(names, at, at + 5)
        if name ~= b.name then rest = rest .. name end
      end
      if rest == '' then
        gone[#gone + 1] = fields[n]
      else
        kept[#kept + 1], kept[#kept + 2] = fields[n], rest
      end
    end
    if #kept > 0 then call('HSET', directory_key(), unpack(kept)) end
    if #gone > 0 then call('HDEL', directory_key(), unpack(gone)) end
  end

  -- For audit.lua: whether it is found by the time of each of its tasks.
  function bundle.is_enlisted(b)
    local ids, names = all_ids(b), {}
    local fields = times_of_bundle(b)
    for n, there in ipairs(names_at(fields)) do names[fields[n]] = there end
    for at = 1, #ids, 16 do
      local found = false
      for other in each_named(names[sub(ids, at, at + 5)] or '') do found = found or other == b end
      if not found then return false end
    end
    return true
  end

  -- For audit.lua: whether each of those named by this time is there, and of that time.
  function bundle.are_there(time)
    local names = call('HGET', directory_key(), time) or ''
    for at = 1, #names, NAME_BYTES do
      local b = bundle.of(sub(names, at, at + 5))
      if not b then return false end
      local is_of_time = false
      for _, field in ipairs(times_of_bundle(b)) do is_of_time = is_of_time or field == time end
      if not is_of_time then return false end
    end
    return true
  end
end
