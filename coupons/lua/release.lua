-- Give reservations back, each only if it is still that request's.
-- KEYS as in admit.lua; ARGV user, requestId, user, requestId, ...
-- Returns how many were given back.
local minute = math.floor(redis.call('TIME')[1] / 60)
local released = 0
for i = 1, #ARGV, 2 do
  for _, key in ipairs({KEYS[2], KEYS[3] .. minute, KEYS[3] .. (minute - 1)}) do
    if redis.call('HGET', key, ARGV[i]) == ARGV[i + 1] then
      redis.call('HDEL', key, ARGV[i])
      released = released + 1
    end
  end
end
return released
