-- Needs base, record, book, shelf, grant, plain, take. What lease.lua is asked, and settle.lua and
-- enqueue.lua with what else they are asked.
local function find_sessions(list, now)
  local found, lost = {}, {}
  for i, s in ipairs(list) do
    local row = call('HMGET', session_key(s.id), 'g', 'w', 'e', 'd')
    local is_own = row[1] and tonumber(row[1]) == s.generation
    if is_own and row[3] and tonumber(row[3]) > now then
      s.worker, first_ends[s.id] = row[2], row[4] and tonumber(row[4])
      found[#found + 1] = s
    else
      lost[#lost + 1] = i - 1
    end
  end
  return found, lost
end

-- The lanes and sessions of a request whose arguments, as in lease.lua, stand from `from` on.
local function read_request(from)
  local lane_count, session_count = tonumber(ARGV[from + 4]), tonumber(ARGV[from + 5])
  local names, sessions, at = {}, {}, from + 6
  for i = 1, lane_count do names[i] = ARGV[at + i - 1] end
  at = at + lane_count
  for i = 1, session_count do
    local generation, slots = tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])
    sessions[i] = { id = ARGV[at], generation = generation, slots = slots }
    at = at + 3
  end
  return names, sessions
end

-- All of what lease.lua does for a request whose arguments stand from `from` on, but its books; nil
-- if there are none. Whatever else the call did is written before it.
local function lease_asked(from, now)
  if from > #ARGV then return nil end
  if is_cold(ARGV[from]) then return { 'cold', 0, {} } end
  local names, sessions = read_request(from)
  local found, lost = find_sessions(sessions, now)
  if outbox_full() then return { 'outbox_full', 0, lost } end
  promote_due(now, LEASE_PROMOTES)
  close_shelves()
  local bytes, seen = tonumber(ARGV[from + 2]), tonumber(ARGV[from + 1])
  local run = new_run(found, bytes, seen, ARGV[from + 3], now)
  local more = serve(run, names)
  close_shelves()
  close_holds()
  return granted_reply(run, lost, more)
end
