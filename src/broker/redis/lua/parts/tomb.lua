-- Needs base. Tombstones of ended tasks, in one hash for each 5 minutes in which they were planted:
-- a time to live of its own for each would cost more than all else, and forgetting them is one
-- UNLINK this way. id -> run, when it is forgotten, how the last grant was settled, its token, its
-- session. Beside them, and among the partition's numbers that of them all, stands the newest time
-- that an id among them carries: only an older id has to be looked for, and a task that comes for
-- the first time is younger than those that ended.
local tombs, newest_tomb
each_call(function() tombs, newest_tomb = {}, 0 end)

local function time_of(id) return (read('>I6', id)) end

local function tomb_bucket(now) return math.floor(now / TOMB_BUCKET_MS) end
local function tomb_key(bucket) return K .. 'x:' .. bucket end

-- Run, end, settling and token as one, session.
local TOMB = '>I4dc0c0'
local function entomb_as(id, tomb)
  local n, time = #tombs, time_of(id)
  if time > newest_tomb then newest_tomb = time end
  tombs[n + 1], tombs[n + 2] = id, tomb
end

local function newest_in(bucket) return tonumber(call('HGET', tomb_key(bucket), 'newest') or -1) end

-- Of all buckets; they say it themselves where no call has noted it yet.
local function newest_of_all(now)
  if own().newest_tomb then return own().newest_tomb end
  local all, last = -1, tomb_bucket(now)
  for bucket = last - OLDER_TOMBS, last do all = math.max(all, newest_in(bucket)) end
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
  if newest_tomb > newest_in(tomb_bucket(now)) then
    tombs[#tombs + 1], tombs[#tombs + 2] = 'newest', digits(newest_tomb)
  end
  call_sliced('HSET', key, tombs)
end

local function read_tombstone(tomb, now)
  local run, expires, settled_by, token, at = read('>I4dBc16', tomb)
  if expires <= now then return nil end
  return { run = run, settled_by = settled_by, token = token, session = sub(tomb, at) }
end

-- Tombstones by id; the newest of each counts.
local function tombs_of(ids, now)
  local found, newest, oldest = {}, tomb_bucket(now), 2 ^ 48
  for i = 1, #ids do oldest = math.min(oldest, time_of(ids[i])) end
  local all = own().newest_tomb
  if all and oldest > all then return found end
  for bucket = newest - OLDER_TOMBS, newest do
    local key = tomb_key(bucket)
    local may_hold = oldest <= newest_in(bucket)
    for from = 1, may_hold and #ids or 0, 1000 do
      local to = math.min(from + 999, #ids)
      for i, tomb in ipairs(call('HMGET', key, unpack(ids, from, to))) do
        if tomb then found[ids[from + i - 1]] = read_tombstone(tomb, now) end
      end
    end
  end
  return found
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
  local newest = tomb_bucket(now)
  for bucket = newest - OLDER_TOMBS, newest do call('HDEL', tomb_key(bucket), id) end
end

-- Drops what no tombstone can be valid in any more. `swept`: the newest dropped before, if any.
local function forget_tombs(now, swept)
  local last = tomb_bucket(now) - OLDER_TOMBS - 1
  if swept == last then return end
  local first = math.max(swept or last, last - 2 * OLDER_TOMBS)
  for bucket = first, last do call('UNLINK', tomb_key(bucket)) end
  call('HSET', META, 'xb', digits(last))
end
