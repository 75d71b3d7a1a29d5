-- Needs base. Tombstones of ended tasks, in one hash for each 5 minutes in which they were planted:
-- a time to live of its own for each would cost more than all else, and forgetting them is one
-- UNLINK this way. id -> run, when it is forgotten, how the last grant was settled, its token, and
-- of a task that left no record the place in the outbox that tells of its end; its session. Of
-- those that ended together all that stands once. Beside them, and among the partition's numbers
-- that of them all, stands the newest time that an id among them carries: only an older id has to
-- be looked for, and a task that comes for the first time is younger than those that ended.
local tombs, newest_tomb, marks_of, run_tombs
each_call(function() tombs, newest_tomb, marks_of, run_tombs = {}, 0, {}, {} end)

local function tomb_bucket(now) return math.floor(now / TOMB_BUCKET_MS) end
local function tomb_key(bucket) return K .. 'x:' .. bucket end

-- Those that are kept, oldest first: more than usual while the outbox tells of ends from longer
-- ago.
local function buckets(now)
  local list, newest, forgotten = {}, tomb_bucket(now), own().forgotten
  for bucket in string.gmatch(own().kept_tombs, '%d+') do list[#list + 1] = tonumber(bucket) end
  local first = newest - OLDER_TOMBS
  for bucket = math.min(first, forgotten and forgotten + 1 or first), newest do
    list[#list + 1] = bucket
  end
  return list
end

-- Run, end, settling and token as one, session.
local TOMB = '>I4dc0c0'
local function entomb_as(id, tomb)
  local n, time = #tombs, time_of(id)
  if time > newest_tomb then newest_tomb = time end
  tombs[n + 1], tombs[n + 2] = id, tomb
end

-- Added to how the grant was settled where the place in the outbox stands behind the token: time
-- and number of the entry, how many it tells, the place.
local IN_OUTBOX = 128
local FORGET_BUCKETS = 1000
local PLACE = '>I6I4I2I2'
-- A run: some whose leases and ends stand one behind another. What their tombstones have in common
-- and their ids stand under a name that the fencing number of the first gives it. By the time that
-- ids carry stand the names of the runs among which to look for them; where that would be many of
-- either, by each id the name of its run, and its place there.
local RUN_NAME_BYTES, RUN_REF_BYTES = 9, 10
local IDS_PER_TIME, RUNS_PER_TIME = 2, 64
local function field_of(time) return 't' .. pack('>I6', time) end

-- Those of tasks that ended by one call in the same way, which the entry of this name tells of.
local function entomb_told(entry, settled_by, ids, runs, tokens, sessions, places, now)
  local ms, number, total = string.match(entry, '^(%d+)-(%d+)/(%d+)')
  local about = pack('>I6I4I2', ms, number, total)
  local run, start
  for n = 1, #ids do
    local id = ids[n]
    if runs[n] ~= run then
      run = runs[n]
      start = pack('>I4dB', run, now + TOMBSTONE_MS, settled_by + IN_OUTBOX)
    end
    local last, time = #tombs, read('>I6', id)
    if time > newest_tomb then newest_tomb = time end
    tombs[last + 1] = id
    tombs[last + 2] = start .. tokens[n] .. about .. pack('>I2', places[n]) .. sessions[n]
  end
  call('HSET', K .. 'oe', ms .. '-' .. number, tomb_bucket(now))
end

local entomb_run
do
  -- The times of its ids, or of all its bundle where these are few: to read each would cost more.
  local function times_of_run(run)
    if #run.times / 6 * IDS_PER_TIME > run.many then
      return times_in(run.packed_ids, 1, run.many)
    end
    local times = {}
    for at = 1, #run.times, 6 do times[#times + 1] = read('>I6', run.times, at) end
    return times
  end

  -- Adds this name to those under these times; nil: they are too many for its ids.
  local function name_run(name, times, many, key)
    local fields, seen = {}, {}
    for _, time in ipairs(times) do
      if not seen[time] then seen[time], fields[#fields + 1] = true, field_of(time) end
    end
    if #fields * IDS_PER_TIME > many then return nil end
    local names = call('HMGET', key, unpack(fields))
    for n, field in ipairs(fields) do
      names[n] = (tombs[field] or names[n] or '') .. name
      if #names[n] > RUNS_PER_TIME * RUN_NAME_BYTES then return nil end
    end
    for n, field in ipairs(fields) do
      local last = #tombs
      tombs[last + 1], tombs[last + 2], tombs[field] = field, names[n], names[n]
    end
    tombs.newest_run = math.max(tombs.newest_run or 0, unpack(times))
    return true
  end

  -- Those of tasks of a slice that ended one behind another.
  function entomb_run(entry, settled_by, run, now)
    local ms, number, total = string.match(entry, '^(%d+)-(%d+)/(%d+)')
    local about = pack('>I6I4I2I2', ms, number, total, run.place)
    local start = pack('>I4dB', 1, now + TOMBSTONE_MS, settled_by + IN_OUTBOX)
    local tomb = start .. run.token .. about .. run.session
    local name, packed = 'r' .. sub(run.token, 1, 8), run.packed_ids
    local times, key = times_of_run(run), tomb_key(tomb_bucket(now))
    local named, last = name_run(name, times, run.many, key), #tombs + 2
    tombs[last - 1] = name
    tombs[last] = pack('>I4c0', #tomb, tomb) .. (named and packed or '')
    for n = 1, named and 0 or run.many do
      local id = sub(packed, n * 16 - 15, n * 16)
      tombs[last + n * 2 - 1], tombs[last + n * 2] = id, name .. string.char(n - 1)
    end
    if not named then newest_tomb = math.max(newest_tomb, unpack(times)) end
    call('HSET', K .. 'oe', ms .. '-' .. number, tomb_bucket(now))
  end
end

-- Whether history has yet to learn the end that this place tells of.
local function is_owed(tomb)
  local entry = tomb.entry
  if not entry then return false end
  local marks = marks_of[entry]
  if marks == nil then
    if tomb.total > 1 then
      marks = call('HGET', K .. 'oc', entry)
    else
      marks = #call('XRANGE', K .. 'ob', entry, entry) > 0 and '0'
    end
    marks_of[entry] = marks
  end
  return marks and string.byte(marks, tomb.place + 1) == 48
end

-- The newest times that ids carry: of those that stand by themselves, and of those in runs.
local function newest_in(bucket)
  local row = call('HMGET', tomb_key(bucket), 'newest', 'newest_run')
  return tonumber(row[1] or 0), tonumber(row[2] or 0)
end

-- Of all buckets; they say it themselves where no call has noted it yet.
local function newest_of_all(now)
  if own().newest_tomb then return own().newest_tomb end
  local all = 0
  for _, bucket in ipairs(buckets(now)) do all = math.max(all, newest_in(bucket)) end
  return all
end

-- Before close_numbers.
local function close_tombs(now)
  if #tombs == 0 then return end
  local key, newest_run = tomb_key(tomb_bucket(now)), tombs.newest_run or 0
  local all, newest = newest_of_all(now), math.max(newest_tomb, newest_run)
  if newest > all or not own().newest_tomb then
    own().newest_tomb, own().entombed = math.max(newest, all), true
  end
  -- Newer than all is newer than those beside it.
  local there, run_there = all, all
  local function needs_look(time) return time > 0 and time <= all end
  if needs_look(newest_tomb) or needs_look(newest_run) then
    there, run_there = newest_in(tomb_bucket(now))
  end
  if newest_tomb > there then
    tombs[#tombs + 1], tombs[#tombs + 2] = 'newest', digits(newest_tomb)
  end
  if newest_run > run_there then
    tombs[#tombs + 1], tombs[#tombs + 2] = 'newest_run', digits(newest_run)
  end
  call_sliced('HSET', key, tombs)
end

local tombs_of, exhume
do
  -- False: there is none of this name.
  local function run_of(key, name)
    local run = run_tombs[name]
    if run ~= nil then return run end
    local row = call('HGET', key, name)
    if row then
      local tomb, at = read('>I4c0', row)
      run = { tomb = tomb, ids = sub(row, at) }
    end
    run_tombs[name] = run or false
    return run_tombs[name]
  end

  -- `nth`: of a run. Nil where it is over: never while history has yet to learn of the end.
  local function read_tombstone(packed, nth, now)
    local run, expires, settled_by, token, at = read('>I4dBc16', packed)
    local tomb = { run = run, settled_by = settled_by, token = token }
    if settled_by >= IN_OUTBOX then
      local ms, number, total, place, to = read(PLACE, packed, at)
      tomb.settled_by, tomb.entry = settled_by - IN_OUTBOX, digits(ms) .. '-' .. digits(number)
      tomb.total, tomb.place, at = total, place, to
    end
    if nth then
      tomb.place = tomb.place + nth
      tomb.token = pack('>d', read('>d', token) + nth) .. sub(token, 9)
    end
    tomb.session = sub(packed, at)
    return (expires > now or is_owed(tomb)) and tomb or nil
  end

  local function read_by_id(key, packed, now)
    if #packed > RUN_REF_BYTES then return read_tombstone(packed, nil, now) end
    local run = run_of(key, sub(packed, 1, RUN_NAME_BYTES))
    return read_tombstone(run.tomb, string.byte(packed, RUN_REF_BYTES), now)
  end

  -- Calls `take` with each run of these names that has this id, and the place there.
  local function find_among(key, names, id, take)
    for at = 1, #names, RUN_NAME_BYTES do
      local name = sub(names, at, at + RUN_NAME_BYTES - 1)
      local run = run_of(key, name)
      local place = run and bundle.place_among(run.ids, id)
      if place then take(run, place, name) end
    end
  end

  local function find_in_runs(found, key, ids, times, now)
    local fields, nth = {}, {}
    for _, time in ipairs(times) do
      if not nth[time] then fields[#fields + 1], nth[time] = field_of(time), #fields + 1 end
    end
    for from = 1, #fields, 1000 do
      local to = math.min(from + 999, #fields)
      for n, names in ipairs(call('HMGET', key, unpack(fields, from, to))) do
        fields[from + n - 1] = names
      end
    end
    for i, id in ipairs(ids) do
      find_among(key, fields[nth[times[i]]] or '', id, function(run, place)
        found[id] = read_tombstone(run.tomb, place, now)
      end)
    end
  end

  local function times_of(ids)
    local times = {}
    for from = 1, #ids, 250 do
      local to = math.min(from + 249, #ids)
      local some = times_in(table.concat(ids, '', from, to), 1, to - from + 1)
      for n = 1, #some do times[from + n - 1] = some[n] end
    end
    return times
  end

  -- Tombstones by id that are not over at `since`, or else now; the newest of each counts. `times`:
  -- those of the ids, where they are known.
  function tombs_of(ids, now, since, times)
    local found, all, oldest = {}, own().newest_tomb, 2 ^ 48
    times = times or times_of(ids)
    for n = 1, #ids do oldest = math.min(oldest, times[n]) end
    if all and oldest > all then return found end
    for _, bucket in ipairs(buckets(now)) do
      local key = tomb_key(bucket)
      local newest, newest_run = newest_in(bucket)
      if oldest <= newest_run then find_in_runs(found, key, ids, times, since or now) end
      for from = 1, oldest <= newest and #ids or 0, 1000 do
        local to = math.min(from + 999, #ids)
        for i, tomb in ipairs(call('HMGET', key, unpack(ids, from, to))) do
          if tomb then found[ids[from + i - 1]] = read_by_id(key, tomb, since or now) end
        end
      end
    end
    return found
  end

  -- A task of a later run takes the place of one that ended.
  function exhume(id, now)
    for _, bucket in ipairs(buckets(now)) do
      local key = tomb_key(bucket)
      call('HDEL', key, id)
      local names = call('HGET', key, field_of(time_of(id))) or ''
      find_among(key, names, id, function(run, place, name)
        local none = string.rep('\0', 16)
        run.ids = sub(run.ids, 1, place * 16) .. none .. sub(run.ids, place * 16 + 17)
        call('HSET', key, name, pack('>I4c0', #run.tomb, run.tomb) .. run.ids)
      end)
    end
  end
end

local function tombstone_of(id, now) return tombs_of({ id }, now)[id] end

-- Stands where an ended task would stand; one of a later run is left alone.
local function plant(id, run, now)
  local known = tombstone_of(id, now)
  if known and known.run >= run then return end
  entomb_as(id, pack(TOMB, run, now + TOMBSTONE_MS, string.rep('\0', 17), ''))
end

-- History has learned late of the ends that this entry of the outbox told of: the time of these
-- tombstones begins now, as that of any other does.
local function renew_tombs(entry, ids, now)
  for id, tomb in pairs(tombs_of(ids, now, 0)) do
    if tomb.entry == entry then
      local token = string.char(tomb.settled_by) .. tomb.token
      entomb_as(id, pack(TOMB, tomb.run, now + TOMBSTONE_MS, token, tomb.session))
    end
  end
end

-- Drops what no tombstone can be valid in any more; what holds one of an end that the outbox tells
-- of stays. `swept`: the newest that was judged before, if any.
local function forget_tombs(now, swept)
  local last = tomb_bucket(now) - OLDER_TOMBS - 1
  if swept and swept >= last then return end
  local first = swept and swept + 1 or last - 2 * OLDER_TOMBS
  last = math.min(last, first + FORGET_BUCKETS)
  local owed, kept = {}, {}
  for _, bucket in ipairs(call('HVALS', K .. 'oe')) do owed[tonumber(bucket)] = true end
  local function judge(bucket)
    if owed[bucket] then
      kept[#kept + 1] = bucket
    else
      call('UNLINK', tomb_key(bucket))
    end
  end
  for bucket in string.gmatch(own().kept_tombs, '%d+') do judge(tonumber(bucket)) end
  for bucket = first, last do judge(bucket) end
  call('HSET', META, 'xb', digits(last), 'xh', table.concat(kept, ' '))
end
