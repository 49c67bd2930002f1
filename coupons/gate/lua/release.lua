-- Give reservations back, each only if it still belongs to that request.
-- KEYS as in admit.lua; ARGV[1] '1' to keep those that were disclosed, else '0';
-- ARGV[2..] user, requestId, user, requestId, ...
-- Returns how many were given back, and the requestIds that were kept. Frees before any other write, so that
-- a full Redis refuses nothing.
local minute = this_minute()
local settled, settled_before = KEYS[3] .. minute, KEYS[3] .. (minute - 1)
local disclosed, disclosed_before = KEYS[3] .. 'told:' .. minute, KEYS[3] .. 'told:' .. (minute - 1)
only('hash', KEYS[1])
for _, key in ipairs({KEYS[2], settled, settled_before}) do
  only('hash', key)
end
only('set', disclosed)
only('set', disclosed_before)
local answer, freed = {0}, 0
for i = 2, #ARGV, 2 do
  local user, request = ARGV[i], ARGV[i + 1]
  local is_disclosed = ARGV[1] == '1' and (redis.call('SISMEMBER', disclosed, request) == 1
    or redis.call('SISMEMBER', disclosed_before, request) == 1)
  if is_disclosed then
    answer[#answer + 1] = request
  else
    for _, key in ipairs({KEYS[2], settled, settled_before}) do
      if request_of(key, user) == request then
        redis.call('HDEL', key, user)
        answer[1] = answer[1] + 1
        freed = freed + (key == KEYS[2] and 1 or 0)
      end
    end
  end
end
count(KEYS[1], -freed)
return answer
