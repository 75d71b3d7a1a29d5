-- Needs base. Tombstones of ended tasks, in one hash for each 5 minutes in which they were planted:
-- a time to live of its own for each would cost more than all else, and forgetting them is one
-- UNLINK this way. id -> run, when it is forgotten, how the last grant was settled, its token, and
-- of a task that left no record the place in the outbox that tells of its end; its session. Of
-- those that ended together that stands once, and each says only where, and its place among them.
-- Beside them, and among the partition's numbers that of them all, stands the newest time that an
-- id among them carries: only an older id has to be looked for, and a task that comes for the first
-- time is younger than those that ended.
local tombs, newest_tomb, marks_of, run_tombs
each_call(function() tombs, newest_tomb, marks_of, run_tombs = {}, 0, {}, {} end)

local function time_of(id) return (read('>I6', id)) end

-- The oldest and the newest time of some ids that stand one behind another, at most 256; each read
-- alone would cost more.
local function times_in(packed, from, many)
  local times = { read('>' .. string.rep('I6xxxxxxxxxx', many), packed, from) }
  times[many + 1] = nil
  return math.min(unpack(times)), math.max(unpack(times))
end

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
-- Of one of some whose leases and ends stand one behind another: the name of what they have in
-- common, which the fencing number of the first gives it, and how many it is behind that one.
local RUN_REF_BYTES = 10

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

-- Those of tasks of a slice that ended one behind another.
local function entomb_run(entry, settled_by, run, now)
  local ms, number, total = string.match(entry, '^(%d+)-(%d+)/(%d+)')
  local about = pack('>I6I4I2I2', ms, number, total, run.place)
  local start = pack('>I4dB', 1, now + TOMBSTONE_MS, settled_by + IN_OUTBOX)
  local name, last = 'r' .. sub(run.token, 1, 8), #tombs + 2
  tombs[last - 1], tombs[last] = name, start .. run.token .. about .. run.session
  for n, id in ipairs(run.ids) do
    tombs[last + n * 2 - 1], tombs[last + n * 2] = id, name .. string.char(n - 1)
  end
  local _, newest = times_in(run.packed_ids, 1, #run.ids)
  newest_tomb = math.max(newest_tomb, newest)
  call('HSET', K .. 'oe', ms .. '-' .. number, tomb_bucket(now))
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

local function newest_in(bucket) return tonumber(call('HGET', tomb_key(bucket), 'newest') or -1) end

-- Of all buckets; they say it themselves where no call has noted it yet.
local function newest_of_all(now)
  if own().newest_tomb then return own().newest_tomb end
  local all = -1
  for _, bucket in ipairs(buckets(now)) do all = math.max(all, newest_in(bucket)) end
  return all
end

-- Before close_numbers.
local function close_tombs(now)
  if #tombs == 0 then return end
  local key = tomb_key(tomb_bucket(now))
  local all = newest_of_all(now)
  if newest_tomb > all or not own().newest_tomb then
    own().newest_tomb, own().entombed = math.max(newest_tomb, all), true
  end
  -- Newer than all is newer than those beside it.
  if newest_tomb > all or newest_tomb > newest_in(tomb_bucket(now)) then
    tombs[#tombs + 1], tombs[#tombs + 2] = 'newest', digits(newest_tomb)
  end
  call_sliced('HSET', key, tombs)
end

local function run_tomb(key, name)
  local known = run_tombs[name] or call('HGET', key, name)
  run_tombs[name] = known
  return known
end

-- Nil where it is over: never while history has yet to learn of the end.
local function read_tombstone(key, packed, now)
  local nth
  if #packed == RUN_REF_BYTES then
    nth = string.byte(packed, RUN_REF_BYTES)
    packed = run_tomb(key, sub(packed, 1, RUN_REF_BYTES - 1))
  end
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

-- Tombstones by id that are not over at `since`, or else now; the newest of each counts. `oldest`:
-- the time of the oldest id, where it is known.
local tombs_of
do
  local function oldest_of(ids)
    local oldest = 2 ^ 48
    for from = 1, #ids, 250 do
      local to = math.min(from + 249, #ids)
      oldest = math.min(oldest, (times_in(table.concat(ids, '', from, to), 1, to - from + 1)))
    end
    return oldest
  end

  function tombs_of(ids, now, since, oldest)
    local found, all = {}, own().newest_tomb
    oldest = oldest or oldest_of(ids)
    if all and oldest > all then return found end
    for _, bucket in ipairs(buckets(now)) do
      local key = tomb_key(bucket)
      local may_hold = oldest <= newest_in(bucket)
      for from = 1, may_hold and #ids or 0, 1000 do
        local to = math.min(from + 999, #ids)
        for i, tomb in ipairs(call('HMGET', key, unpack(ids, from, to))) do
          if tomb then found[ids[from + i - 1]] = read_tombstone(key, tomb, since or now) end
        end
      end
    end
    return found
  end
end

local function tombstone_of(id, now) return tombs_of({ id }, now)[id] end

-- Stands where an ended task would stand; one of a later run is left alone.
local function plant(id, run, now)
  local known = tombstone_of(id, now)
  if known and known.run >= run then return end
  entomb_as(id, pack(TOMB, run, now + TOMBSTONE_MS, string.rep('\0', 17), ''))
end

-- A task of a later run takes the place of one that ended.
local function exhume(id, now)
  for _, bucket in ipairs(buckets(now)) do call('HDEL', tomb_key(bucket), id) end
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
