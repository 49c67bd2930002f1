-- The reservations that stand in a gate that has to be loaded.
-- KEYS as in admit.lua; ARGV[1] epoch
-- Returns {1} if the gate is known and there is nothing to load; else 0 and the reservations of this row, as
-- user, requestId, ... A gate of another row has none.
if known(KEYS[1], KEYS[2], ARGV[1]) then
  return {1}
end
local epoch = redis.call('HGET', KEYS[1], 'epoch')
if epoch and epoch ~= ARGV[1] then
  return {0}
end
return {0, redis.call('HGETALL', KEYS[2])}
