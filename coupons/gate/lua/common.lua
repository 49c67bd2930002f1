-- Stands before every script. A key of a wrong kind, or a field that we cannot have written, is damage: it is
-- dropped, and the gate is unknown until it is loaded anew.
local function only(kind, key)
  local found = redis.call('TYPE', key).ok
  if found ~= kind and found ~= 'none' then
    redis.call('DEL', key)
  end
end

-- What reading the key gives; a key of a wrong kind reads as none. To ask for each key's kind before takes
-- longer than all else that a claim on a coupon of its own does here.
local function read(command, key, ...)
  local found = redis.pcall(command, key, ...)
  if type(found) == 'table' and found.err then
    if found.err:find('WRONGTYPE', 1, true) then
      redis.call('DEL', key)
    end
    return redis.call(command, key, ...)
  end
  return found
end

-- A number that we wrote, or nil. To Lua, 'inf', '1e3' and '-1' are numbers too.
local function whole(text)
  return text and #text <= 16 and text:match('^%d+$') and tonumber(text) or nil
end

-- The request that stands for this user, or nil; and whether the field was damaged. A damaged field is
-- dropped: a hash of reservations is one short afterwards, and its gate is unknown until it is loaded anew.
local function request_of(key, user)
  local request = read('HGET', key, user)
  if request and #request ~= 16 then
    redis.call('HDEL', key, user)
    return nil, true
  end
  return request or nil, false
end

-- The id of this server's history, which is another one after every promotion and every restart: what it
-- holds may then be older than what was told to its predecessor. '' where our user may not ask (+info). A
-- replica is refused as it refuses writes: a master that was demoted would go on telling what it last knew.
local told_history
local function history()
  if told_history then  -- once in a run, which nothing interrupts
    return told_history
  end
  local told = redis.pcall('INFO', 'replication')
  if type(told) ~= 'string' then
    told_history = ''
    return told_history
  end
  if not told:find('role:master', 1, true) then
    error('READONLY a replica answers')
  end
  told_history = told:match('master_replid:(%x+)') or ''
  return told_history
end

-- Whether a gate that was loaded under this history holds what another server was told, or an older state.
local function is_of_another(loaded_under, here)
  return loaded_under and loaded_under ~= '' and here ~= '' and loaded_under ~= here
end

-- The number of issued coupons and of reservations, if the gate is whole, belongs to this row and was loaded
-- under this server's history; else nil. The gate keeps the number of reservations apart from their hash,
-- because a hash that was lost or evicted is as long as an empty one. epoch nil: the gate may belong to any
-- row.
local function known(gate_key, reservations_key, epoch)
  local gate = read('HMGET', gate_key, 'ready', 'epoch', 'issued', 'reserved', 'history')
  local length = read('HLEN', reservations_key)
  local issued, reserved = whole(gate[3]), whole(gate[4])
  if gate[1] ~= '1' or not gate[2] or (epoch and gate[2] ~= epoch) or not issued then
    return nil
  end
  if (gate[5] or '') ~= history() then
    return nil
  end
  if reserved ~= length then
    return nil
  end
  return issued, reserved
end

-- Changes the number of reservations where the gate has one; a gate that is not loaded has none.
local function count(gate_key, change)
  local reserved = change ~= 0 and redis.call('HGET', gate_key, 'reserved')
  if reserved and whole(reserved) then
    redis.call('HINCRBY', gate_key, 'reserved', change)
  elseif reserved then
    redis.call('HDEL', gate_key, 'reserved')
  end
end

-- Has Redis keep a hash as a table from now on. As a list, its way with fewer than 512 short fields, each of a
-- coupon's claims reads all of it to find that the user is not there. One field of more than 64 bytes makes it
-- a table, which it remains without that field. For a hash that has another field.
local function as_table(key)
  redis.call('HSET', key, 'long', string.rep('-', 65))
  redis.call('HDEL', key, 'long')
end

local function this_minute()
  return math.floor(redis.call('TIME')[1] / 60)
end
