-- Needs base. Tombstones of ended tasks, in one hash for each 5 minutes in which they were planted:
-- a time to live of its own for each would cost more than all else, and forgetting them is one
-- UNLINK this way. id -> run, when it is forgotten, how the last grant was settled, its token, its
-- session.
local tombs
each_call(function() tombs = {} end)

local function tomb_bucket(now) return math.floor(now / TOMB_BUCKET_MS) end
local function tomb_key(bucket) return K .. 'x:' .. bucket end

local function entomb(id, run, now, settled_by, token, session)
  tombs[#tombs + 1] = id
  tombs[#tombs + 1] = pack('>I4dBc16', run, now + TOMBSTONE_MS, settled_by, token) .. session
end

local function close_tombs(now)
  if #tombs > 0 then call_sliced('HSET', tomb_key(tomb_bucket(now)), tombs) end
end

local function read_tombstone(tomb, now)
  local run, expires, settled_by, token, at = read('>I4dBc16', tomb)
  if expires <= now then return nil end
  return { run = run, settled_by = settled_by, token = token, session = sub(tomb, at) }
end

-- Tombstones by id; the newest of each counts.
local function tombs_of(ids, now)
  local found, newest = {}, tomb_bucket(now)
  for bucket = newest - OLDER_TOMBS, newest do
    local key = tomb_key(bucket)
    for from = 1, #ids, 1000 do
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
  entomb(id, run, now, 0, string.rep('\0', 16), '')
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
