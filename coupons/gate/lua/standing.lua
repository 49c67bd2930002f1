-- The reservations that stand in a gate that has to be loaded.
-- KEYS as in admit.lua; ARGV[1] epoch
-- Returns {1} if the gate is known and there is nothing to load; else 0 and the reservations of this row, as
-- user, requestId, ... A gate of another row has none, nor has one of another server's history: some of its
-- reservations were freed where this server did not hear of it, and would keep their slots.
if known(KEYS[1], KEYS[2], ARGV[1]) then
  return {1}
end
local gate = redis.call('HMGET', KEYS[1], 'epoch', 'history')
if (gate[1] and gate[1] ~= ARGV[1]) or is_of_another(gate[2], history()) then
  return {0}
end
return {0, redis.call('HGETALL', KEYS[2])}
