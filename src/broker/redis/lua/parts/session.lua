-- Needs base, record, grant.

-- Its generation stays a while, so that no older one can come back.
local function forget_session(session)
  clear_end(session)
  set_first_end(session, nil)
  call('SREM', K .. 'lv', session)
  call('PEXPIRE', session_key(session), TOMBSTONE_MS)
  call('DEL', held_key(session), K .. 'z:' .. session)
end

local function generation_of(session)
  return tonumber(call('HGET', session_key(session), 'g') or 0)
end
