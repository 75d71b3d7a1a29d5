-- Needs base, record, book, shelf, grant, plain. Plain tasks that came by one call stand
-- together as a bundle as long as only the plain way is gone: the bytes they came as, which say
-- once for all what they have in common. What a lease call takes of it for a session is a slice,
-- and what a settle call ends of a slice is a mark. Whatever else is asked of one that runs parts
-- it from its slice first, and of one that waits unties the bundle: from then on each has the
-- record and the places it would have had.
--
-- Its name is a number of the partition's own. A task of it is found by the time of its id; see
-- parts/directory.lua. What scripts have in place of its record is a byte that begins none, that
-- name, and its place. In a flow it stands by its name, at the order of its first, which would
-- stand before it (a name's first byte is above that of any id for long to come), or of the next
-- one, once one has gone alone. Among the leases of a session a slice by that name and the place of
-- its first.
--
-- Of its hash: h as HEADER says, m the mould, o where the body of each starts among the bytes and
-- where they end, w the times of its ids, and by the place of its first each slice: how many, a
-- mark for each, and the header and the tail of the first as records.
--
-- The bytes, as together.ts packs them: the mould, then the ids, then the bodies. In a mould stand
-- a byte that begins no item, the lane, how many they are, how many bytes of the spec come before
-- those that each has of its own; and of a record what all have in common: the header and the spec.
-- In a body: how many bytes the payload has, and how many of the spec are its own (LONG: said by
-- four bytes more); these, and the payload.
local HEADER = '>I2I2I4c12I6I7'
local NAME = '>I6'
local TOGETHER, LONG = 32, 255
local SPLIT_AT, MOULD_REST_AT, MOULD_SIZES_AT, MOULD_SPEC_AT = 6, 32, 123, 129
local NAMES_FROM = 2 ^ 44
each_call(function() bundle.known, bundle.heads, bundle.wanted = {}, {}, {} end)
do
  local function key_of(name) return K .. 'b:' .. name end
  local function items_key(name) return K .. 'i:' .. name end
  local function offset(b, place) return (read('>I4', b.offsets, place * 4 + 1)) end
  local function member_of(b, slice) return b.name .. pack('>I2', slice.from) end
  local function level_of(b) return 3 - string.byte(b.start, 4) end
  local function lane_of(b) return read('>I4I4', b.start, 5) end

  local function slice_from(from, done, head)
    local slice = { from = from, count = #done, done = done, before = done, head = head }
    slice.counter, slice.secret, slice.started = read('>dc8I6', head, 35)
    slice.session = read('>I4c0', head, 79)
    local _, ended = string.gsub(done, '\1', '\1')
    slice.left = #done - ended
    return slice
  end

  -- False: there is none. One that this call has dropped or untied is `gone`, and still says what
  -- ended by this very call, as the records of those say nothing until its end.
  function bundle.of(name)
    local b = bundle.known[name]
    if b ~= nil then return b end
    local row = call('HGETALL', key_of(name))
    b = #row > 0 and { name = name, slices = {} }
    for i = 1, #row, 2 do
      local field, value = row[i], row[i + 1]
      if field == 'h' then
        b.count, b.next, b.timeout, b.start, b.order, b.birth = read(HEADER, value)
      elseif field == 'o' then
        b.offsets = value
      elseif field == 'm' then
        b.mould = value
      elseif field == 'w' then
        b.times = value
      else
        local from, count = read('>I2', field), read('>I2', value)
        b.slices[#b.slices + 1] = slice_from(from, sub(value, 3, 2 + count), sub(value, 3 + count))
      end
    end
    if b and not b.times then error('these tasks stand as an earlier version has left them') end
    bundle.known[name] = b
    return b
  end

  -- So many of the slice are no more part of it.
  function bundle.mark(b, slice, first, many)
    local done = slice.done
    slice.done = sub(done, 1, first) .. string.rep('\1', many) .. sub(done, first + many + 1)
    slice.left, slice.changed, b.changed = slice.left - many, true, true
  end

  -- By what stands in the place of a record: the bundle, or false, and the task's place in it.
  function bundle.find(ref) return bundle.of(sub(ref, 2, 7)), string.byte(ref, 8) end

  local function slice_of(b, place)
    for _, slice in ipairs(b.slices) do
      if place >= slice.from and place < slice.from + slice.count then return slice end
    end
  end

  local function has_ended(slice, place)
    return string.byte(slice.done, place - slice.from + 1) == 1
  end

  -- Whether the outbox told of their births: history did not hold them when they came.
  local function has_births(b) return string.byte(b.start, 3) % 2 ~= IN_HISTORY end

  -- Order and birth of the task at this place, as records have them.
  local function numbers_at(b, place)
    return pack('>I6I7', b.order + place, has_births(b) and b.birth + place or 0)
  end

  -- What follows the birth in a new record.
  function bundle.rest(mould, body)
    local payload_bytes, own_bytes, at = read('>I2B', body)
    if own_bytes == LONG then own_bytes, at = read('>I4', body, at) end
    local own_at = MOULD_SPEC_AT + string.byte(mould, SPLIT_AT)
    local spec_bytes = #mould - MOULD_SPEC_AT + 1 + own_bytes
    return sub(mould, MOULD_REST_AT, MOULD_SIZES_AT - 1) ..
      pack('>I4I2', spec_bytes, payload_bytes) .. sub(mould, MOULD_SPEC_AT, own_at - 1) ..
      sub(body, at, at + own_bytes - 1) .. sub(mould, own_at) .. sub(body, at + own_bytes)
  end

  -- The record that the task at this place would have alone.
  local function record_at(b, place, body, slice)
    local numbers, rest = numbers_at(b, place), bundle.rest(b.mould, body)
    if not slice then return b.start .. numbers .. rest end
    local head, counter = slice.head, slice.counter + place - slice.from
    return sub(head, 1, 12) .. numbers .. sub(head, 26, 34) .. pack('>d', counter) ..
      sub(head, 43, 78) .. sub(rest, 54) .. sub(head, 79)
  end

  -- Among all bytes.
  local function id_at(b, place) return offset(b, 0) - (b.count - place) * 16 end

  local function ids_of(b, from, to)
    return call('GETRANGE', items_key(b.name), id_at(b, from), id_at(b, to) - 1)
  end

  local function bodies_of(b, from, to)
    return call('GETRANGE', items_key(b.name), offset(b, from), offset(b, to) - 1)
  end

  -- Of a task that `ref` stands for.
  function bundle.record(ref)
    local b, place = bundle.find(ref)
    return b and record_at(b, place, bodies_of(b, place, place + 1), slice_of(b, place))
  end

  -- A lane knows how many tasks stand in its flows beyond their members.
  local function count_beyond(b, by)
    local lane = lane_of(b)
    if by ~= 0 then call('HINCRBY', clock_key(lane), 'b' .. level_of(b), by) end
  end

  -- Tasks that came together and are `new`, as bundle.newcomers says; `birth`: of the first, 0:
  -- history held them before; `offsets`: where each body starts among the bytes, and where they
  -- end.
  function bundle.tie(shelf, new, birth, start, timeout, packed, mould, offsets)
    local name = pack(NAME, NAMES_FROM + call('HINCRBY', META, 'bn', 1))
    local order, n = shelf.clock.n + 1, #new.times
    call('SET', items_key(name), packed)
    local header, times = pack(HEADER, n, 0, timeout, start, order, birth), bundle.enlist(name, new)
    call('HSET', key_of(name), 'h', header, 'm', mould, 'o', offsets, 'w', times)
    shelf.clock.n, shelf.came = order + n - 1, n
    local list = shelf_of(shelf.lane, shelf.level, shelf.level .. 'u')
    list[#list + 1], list[#list + 2] = order, name
    shelf.list = list
    count_beyond({ start = start }, n - 1)
  end

  -- What a call has ended of them is told of with their bodies.
  local function tell_first()
    if bundle.fill then bundle.fill() end
  end

  local function drop(b)
    bundle.strike(b)
    call('DEL', key_of(b.name), items_key(b.name))
    b.gone, b.changed = true, false
  end

  local function close(b)
    local row, gone, left = {}, {}, 0
    for _, slice in ipairs(b.slices) do
      local field = pack('>I2', slice.from)
      if slice.left > 0 then left = left + 1 end
      if slice.changed and slice.left == 0 then
        gone[#gone + 1] = field
        call('ZREM', held_key(slice.session), member_of(b, slice))
      elseif slice.changed then
        row[#row + 1], row[#row + 2] = field, pack('>I2', slice.count) .. slice.done .. slice.head
      end
      slice.changed = false
    end
    b.changed = false
    if b.next == b.count and left == 0 then
      tell_first()
      return drop(b)
    end
    local header = pack(HEADER, b.count, b.next, b.timeout, b.start, b.order, b.birth)
    call('HSET', key_of(b.name), 'h', header, unpack(row))
    if #gone > 0 then call('HDEL', key_of(b.name), unpack(gone)) end
  end

  -- May be repeated.
  function bundle.close()
    for _, b in pairs(bundle.known) do
      if b and b.changed then close(b) end
    end
  end

  function bundle.untie(name)
    local b = bundle.of(name)
    if not b or b.gone then return end
    tell_first()
    local packed, writes, lane = call('GET', items_key(name)), {}, lane_of(b)
    local function put(list, score, place, slice)
      local body = sub(packed, offset(b, place) + 1, offset(b, place + 1))
      local id, n = sub(packed, id_at(b, place) + 1, id_at(b, place + 1)), #writes
      bundle.note_alone(time_of(id))
      writes[n + 1], writes[n + 2] = record_key(id), record_at(b, place, body, slice)
      list[#list + 1], list[#list + 2] = score, id
    end
    local waiting, flow = {}, flow_key(lane, level_of(b) .. 'u')
    for place = b.next, b.count - 1 do put(waiting, b.order + place, place) end
    if #waiting > 0 then
      add_sorted(flow, waiting)
      call('ZREM', flow, name)
      count_beyond(b, 1 - #waiting / 2)
    end
    for _, slice in ipairs(b.slices) do
      local holds, time = {}, digits(slice.started + b.timeout)
      for n = 1, slice.count do
        if string.byte(slice.done, n) == 0 then put(holds, time, slice.from + n - 1, slice) end
      end
      if #holds > 0 then add_sorted(held_key(slice.session), holds) end
      call('ZREM', held_key(slice.session), member_of(b, slice))
    end
    set_all(writes)
    drop(b)
    close_numbers()
  end

  -- One that goes alone has its place before those that wait, should it come back.
  function bundle.stand_behind(b)
    if b.next == b.count then return end
    local flow = flow_key(lane_of(b), level_of(b) .. 'u')
    call('ZADD', flow, 'XX', digits(b.order + b.next), b.name)
  end

  -- One that runs goes alone from now on; where it waits, all do. Answers its record; false: it
  -- stands in no bundle, or this very call has ended it.
  function bundle.part(id)
    local ref = bundle.among({ id })[id]
    if not ref then return false end
    local b, place = bundle.find(ref)
    local slice = slice_of(b, place)
    if not slice then
      bundle.untie(b.name)
      return call('GET', record_key(id))
    end
    if has_ended(slice, place) then return false end
    local rec = record_at(b, place, bodies_of(b, place, place + 1), slice)
    bundle.note_alone(time_of(id))
    call('SET', record_key(id), rec)
    call('ZADD', held_key(slice.session), digits(slice.started + b.timeout), id)
    bundle.mark(b, slice, place - slice.from, 1)
    bundle.stand_behind(b)
    bundle.close()
    close_numbers()
    return rec
  end

  -- Whether any of them stood for a slice or a bundle, which are no more.
  function bundle.untie_members(members)
    local found = false
    for _, member in ipairs(members) do
      if #member < 16 then
        bundle.untie(sub(member, 1, 6))
        found = true
      end
    end
    return found
  end

  local function slice_named(member)
    local b = bundle.of(sub(member, 1, 6))
    return b and slice_of(b, read('>I2', member, 7)), b
  end

  -- Tasks that run of the slice which this member of a session's leases stands for.
  function bundle.running(member)
    local slice = slice_named(member)
    return slice and slice.left or 0
  end

  local function waits_in(b)
    local flow = flow_key(lane_of(b), level_of(b) .. 'u')
    return b.next < b.count and call('ZSCORE', flow, b.name) and flow
  end

  -- Whether this member of a set stands where it is due.
  function bundle.is_member(member, key)
    if #member > 6 then
      local slice = slice_named(member)
      return slice and slice.left > 0 and held_key(slice.session) == key
    end
    local b = bundle.of(member)
    return b and waits_in(b) == key
  end

  -- Whether all of it stands where it is due.
  function bundle.is_whole(name)
    local b = bundle.of(name)
    if not b or (b.next == b.count and #b.slices == 0) then return false end
    if b.next < b.count and not waits_in(b) then return false end
    for _, slice in ipairs(b.slices) do
      if not call('ZSCORE', held_key(slice.session), member_of(b, slice)) then return false end
    end
    return bundle.is_enlisted(b)
  end

  -- For parts/directory.lua and parts/slice.lua.
  bundle.offset, bundle.record_at, bundle.has_ended = offset, record_at, has_ended
  bundle.ids_of, bundle.bodies_of = ids_of, bodies_of
  bundle.slice_from, bundle.slice_of, bundle.member_of = slice_from, slice_of, member_of
  bundle.count_beyond, bundle.lane_of, bundle.level_of = count_beyond, lane_of, level_of
  bundle.has_births, bundle.numbers_at = has_births, numbers_at
end
