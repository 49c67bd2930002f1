-- Set a count that is too high to the database's.
-- KEYS as in admit.lua; ARGV[1] epoch, ARGV[2] the count that was seen, ARGV[3] the count to set
-- Does nothing if the count has changed since. Returns 1 if it was set, else 0.
only('hash', KEYS[1])
local gate = redis.call('HMGET', KEYS[1], 'epoch', 'issued')
if gate[1] ~= ARGV[1] or gate[2] ~= ARGV[2] then
  return 0
end
redis.call('HSET', KEYS[1], 'issued', ARGV[3])
return 1
