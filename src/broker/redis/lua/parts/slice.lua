-- Needs base, record, book, shelf, grant, plain, bundle, take. The plain way of tasks that stand
-- together: a slice of a bundle is leased, and its tasks complete, one by one or several at once.
do
  local offset, record_at = bundle.offset, bundle.record_at
  local ids_of, bodies_of = bundle.ids_of, bundle.bodies_of
  local slice_from, slice_of, member_of = bundle.slice_from, bundle.slice_of, bundle.member_of
  local count_beyond, lane_of, level_of = bundle.count_beyond, bundle.lane_of, bundle.level_of
  local has_births, numbers_at = bundle.has_births, bundle.numbers_at
  local has_ended = bundle.has_ended

  -- The next of it, as a task with a record.
  local function give_one(run, b, s)
    local place = b.next
    local id = ids_of(b, place, place + 1)
    local rec = record_at(b, place, bodies_of(b, place, place + 1))
    local timeout, head, state = plain_grant(rec)
    bundle.note_alone(time_of(id))
    return give(run, id, record_key(id), rec, nil, s, timeout, head, state) and 1 or 0
  end

  local function note_ids(ids)
    if not own().watched then return end
    for at = 1, #ids, 16 do news[#news + 1] = sub(ids, at, at + 15) end
  end

  -- Of these tasks as records, with what a grant to this session puts behind each.
  local function bytes_granted(b, s, first, many)
    return offset(b, first + many) - offset(b, first) + many * (#b.mould + #s.tail)
  end

  local function give_slice(run, b, s, many)
    local first = b.next
    local ids, bodies = ids_of(b, first, first + many), bodies_of(b, first, first + many)
    if not b.after then
      local header = sub(b.mould, MOULD_REST_AT, MOULD_SIZES_AT - 1)
      b.timeout, b.after, b.state = plain_grant(b.start .. numbers_at(b, first) .. header)
    end
    local secret = sub(run.secrets, run.used * 8 + 1, run.used * 8 + 8)
    local head = b.after .. numbers_at(b, first) .. b.state .. pack('>d', run.counter + 1) ..
      secret .. s.begun .. s.tail
    run.used, run.counter, run.room = run.used + many, run.counter + many, run.room - many
    run.bytes, s.slots = run.bytes - bytes_granted(b, s, first, many), s.slots - many
    if run.room <= 0 then run.full = true end
    granted[run.cell] = (granted[run.cell] or 0) + many
    local slice = slice_from(first, string.rep('\0', many), head)
    slice.changed, b.slices[#b.slices + 1] = true, slice
    hold_until(s.id, s.now + b.timeout, member_of(b, slice))
    note_ids(ids)
    local n = #run.slices
    run.slices[n + 1], run.slices[n + 2] = head, b.mould
    run.slices[n + 3], run.slices[n + 4] = ids, bodies
    return many
  end

  -- Up to `most` of it to this session, as serve_flow answers. It stays the flow's next one while
  -- any is left.
  function bundle.serve(run, flow, name, s, most)
    local b = bundle.of(name)
    if not b or b.next >= b.count then
      flow.gone[#flow.gone + 1] = name
      return 'nothing', 0
    end
    local left = math.min(most, b.count - b.next)
    b.share = b.share or math.ceil(left / #run.sessions)
    local many = math.min(left, b.share, s.slots)
    while many >= BUNDLE_TASKS and bytes_granted(b, s, b.next, many) > run.bytes do
      many = math.floor(many / 2)
    end
    local is_alone = many < BUNDLE_TASKS
    many = is_alone and give_one(run, b, s) or give_slice(run, b, s, many)
    b.next, b.changed = b.next + many, true
    if is_alone and many > 0 then bundle.stand_behind(b) end
    local is_over = b.next == b.count
    count_beyond(b, (is_over and 1 or 0) - many)
    if is_over then
      flow.gone[#flow.gone + 1] = name
    else
      flow.at = flow.at - 1
    end
    return many > 0 and 'served' or 'full', many
  end

  -- What the tasks of this slice have in common stands once behind what is told.
  local function number_of(b, slice)
    if not slice.number then
      local heads = bundle.heads
      heads[#heads + 1], heads[#heads + 2] = slice.head, b.mould
      slice.number = string.char(#heads / 2 - 1)
    end
    return slice.number
  end

  local function end_some(b, slice, first, many)
    bundle.mark(b, slice, first, many)
    local lane, queue = lane_of(b)
    local cell = queue * 4 + 3 - level_of(b)
    completed[cell] = (completed[cell] or 0) + many
    live[lane] = (live[lane] or 0) - many
  end

  -- The end of a DURABLE task is shown, and so told, once history has it: see recorded.lua.
  local function is_relaxed(b) return band(string.byte(b.start, 3), RELAXED) ~= 0 end

  -- Whether history holds all of these, or none; nil: some.
  local function are_born(b, place, many)
    if not has_births(b) then return true end
    local first, held = is_born(b.birth + place), births[b.birth / 256]
    if held and sub(held, place + 1, place + many) ~= string.rep(first and '1' or '0', many) then
      return nil
    end
    return first
  end

  -- Ends tasks that stand one behind another in a slice, all or none of them; nil: none.
  -- `counter`, `secret`: of the first token; `wanted`: the ids of all of them, as whoever ended
  -- them says. Answers their bodies as well.
  function bundle.complete_run(session, many, counter, secret, results, wanted)
    local b, slice = bundle.find_grant(session, counter, secret, wanted)
    local nth = slice and counter - slice.counter
    if not slice or nth + many > slice.count then return nil end
    local place = slice.from + nth
    if sub(slice.done, nth + 1, nth + many) ~= string.rep('\0', many) then return nil end
    local born = are_born(b, place, many)
    if born == nil or ids_of(b, place, place + many) ~= wanted then return nil end
    end_some(b, slice, nth, many)
    local n = #told
    local about = (born and '\225\1' or '\225\0') .. number_of(b, slice)
    about = about .. pack('>BI2', nth, many) .. results
    told[n + 1], told[n + 2] = about, sub(wanted, 1, 16)
    local bodies, beside, last = bodies_of(b, place, place + many), bundle.beside, #bundle.beside
    beside[last + 1], beside[last + 2] = 'i', wanted
    beside[last + 3], beside[last + 4] = 'b', bodies
    told_bytes = told_bytes + #bodies + #b.mould + #slice.head + #results + many * 144
    local relaxed = is_relaxed(b)
    if relaxed then note_ids(wanted) end
    local run = {
      place = n / 2 + bundle.more, many = many, session = session,
      token = pack('>d', counter) .. secret, quiet = relaxed and many or 0, packed_ids = wanted,
      times = b.times,
    }
    bundle.more = bundle.more + many - 1
    return run, bodies
  end

  -- Nil: the plain way is none here.
  function bundle.complete(ref, id, token, session, data)
    local b, place = bundle.find(ref)
    if not b or #data > INLINE_BYTES then return nil end
    local slice = slice_of(b, place)
    local nth = slice and place - slice.from
    if not slice or slice.session ~= session then return 's' end
    if token ~= pack('>d', slice.counter + nth) .. slice.secret then return 's' end
    if has_ended(slice, place) then return 'd' end
    if b.gone then return nil end
    end_some(b, slice, nth, 1)
    local n, about = #told, are_born(b, place, 1) and '\193\1' or '\193\0'
    told[n + 1], told[n + 2] = about .. id .. number_of(b, slice) .. string.char(nth) .. data, false
    local bytes = offset(b, place + 1) - offset(b, place) + #b.mould + #slice.head + #data + 128
    told_bytes = told_bytes + bytes
    local wanted = bundle.wanted[slice] or { b = b }
    bundle.wanted[slice] = wanted
    wanted[#wanted + 1], wanted[#wanted + 2] = n + 2, place
    local relaxed = is_relaxed(b)
    if relaxed then news[#news + 1] = id end
    return 'a', n / 2 + bundle.more, relaxed and 1 or 0
  end

  -- Puts the bodies of those that ended behind what is told of each.
  function bundle.fill()
    for slice, wanted in pairs(bundle.wanted) do
      local b, most = wanted.b, #wanted >= slice.count
      local from = offset(b, slice.from)
      local bodies = most and bodies_of(b, slice.from, slice.from + slice.count)
      for i = 1, #wanted, 2 do
        local place = wanted[i + 1]
        if bodies then
          local first, last = offset(b, place) - from, offset(b, place + 1) - from
          told[wanted[i]] = sub(bodies, first + 1, last)
        else
          told[wanted[i]] = bodies_of(b, place, place + 1)
        end
      end
    end
    bundle.wanted = {}
  end
end
