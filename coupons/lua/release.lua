-- Give reservations back, each only if it is still that request's.
-- KEYS as in admit.lua; ARGV[1] '1' to keep those that somebody was told of, else '0';
-- ARGV[2..] user, requestId, user, requestId, ...
-- Returns how many were given back, and the requestIds that were kept.
local minute = math.floor(redis.call('TIME')[1] / 60)
local answer = {0}
for i = 2, #ARGV, 2 do
  local user, request = ARGV[i], ARGV[i + 1]
  local told = ARGV[1] == '1' and (redis.call('SISMEMBER', KEYS[3] .. 'told:' .. minute, request) == 1
    or redis.call('SISMEMBER', KEYS[3] .. 'told:' .. (minute - 1), request) == 1)
  if told then
    answer[#answer + 1] = request
  else
    for _, key in ipairs({KEYS[2], KEYS[3] .. minute, KEYS[3] .. (minute - 1)}) do
      if redis.call('HGET', key, user) == request then
        redis.call('HDEL', key, user)
        answer[1] = answer[1] + 1
      end
    end
  end
end
return answer
