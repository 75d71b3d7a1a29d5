-- Needs base, record, grant.

-- Its generation stays a while, so that no older one can come back.
local function forget_session(session)
  call('ZREM', K .. 'sl', session)
  call('ZREM', K .. 'dl', session)
  call('SREM', K .. 'lv', session)
  call('PEXPIRE', K .. 's:' .. session, TOMBSTONE_MS)
  call('DEL', held_key(session), K .. 'z:' .. session)
end

local function generation_of(session)
  return tonumber(call('HGET', K .. 's:' .. session, 'g') or 0)
end
