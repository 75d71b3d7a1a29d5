-- KEYS[1] is the common start of every key of the partition; all others are formed from it, so they
-- share its hash tag.
local K = KEYS[1]
local call = redis.call
local META = K .. 'm'

local function now_ms()
  local t = call('TIME')
  local now = t[1] * 1000 + math.floor(t[2] / 1000)
  -- @skew
  return now
end

-- Numbers above 10^14 lose digits in `..`; this is the only way they are printed.
local function digits(n)
  return string.format('%.0f', n)
end

-- Redis refuses calls with some thousand arguments from Lua's stack: long lists go in slices.
local function call_sliced(command, key, list)
  for i = 1, #list, 1000 do
    call(command, key, unpack(list, i, math.min(i + 999, #list)))
  end
end

-- Fast, lossy news to every coordinator.
local function publish(message)
  call('PUBLISH', string.match(K, '^{(.*):%d+}:$') .. ':hints', message)
end

-- Tasks that changed. While nobody watches any task, this costs one look; see watch.lua.
local news = {}
local function tell_watchers(letter)
  if #news == 0 or call('EXISTS', K .. 'wt') == 0 then return end
  local heard = {}
  for i, watched in ipairs(call('ZMSCORE', K .. 'wt', unpack(news))) do
    if watched then heard[#heard + 1] = news[i] end
  end
  if #heard > 0 then publish(letter .. table.concat(heard)) end
end

local function set_all(list)
  for i = 1, #list, 1000 do call('MSET', unpack(list, i, math.min(i + 999, #list))) end
end

local function is_cold(store_id)
  return call('HGET', META, 'store') ~= store_id
end

-- Entries and bytes that still fit into the outbox.
local function outbox_room()
  local bytes = tonumber(call('HGET', META, 'obb') or 0)
  return OUTBOX_ENTRIES - call('XLEN', K .. 'ob'), OUTBOX_BYTES - bytes
end

local function outbox_full()
  local entries, bytes = outbox_room()
  return entries <= 0 or bytes <= 0
end
