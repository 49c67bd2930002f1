-- Set a count that is too high to the database's.
-- KEYS as in admit.lua; ARGV[1] epoch, ARGV[2] the count as it was seen, ARGV[3] as it should be
-- Does nothing if it has changed since. Returns whether it did.
only('hash', KEYS[1])
local gate = redis.call('HMGET', KEYS[1], 'epoch', 'issued')
if gate[1] ~= ARGV[1] or gate[2] ~= ARGV[2] then
  return 0
end
redis.call('HSET', KEYS[1], 'issued', ARGV[3])
return 1
