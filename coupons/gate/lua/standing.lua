-- What there is of a gate that has to be loaded.
-- KEYS as in admit.lua; ARGV[1] epoch
-- Returns whether the gate is known (then there is nothing to load), and else the reservations that stand, as
-- user, requestId, ...; none of another row's.
if known(KEYS[1], KEYS[2], ARGV[1]) then
  return {1}
end
local epoch = redis.call('HGET', KEYS[1], 'epoch')
if epoch and epoch ~= ARGV[1] then
  return {0}
end
return {0, redis.call('HGETALL', KEYS[2])}
