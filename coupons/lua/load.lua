-- Fill an empty gate from the database and the undecided events of the log.
-- KEYS as in admit.lua; ARGV[1] epoch, ARGV[2] issued_count, ARGV[3..] user, requestId, ...
-- Does nothing where another process loaded it meanwhile: its reservations are newer than our reading.
local gate = redis.call('HMGET', KEYS[1], 'ready', 'epoch', 'issued')
if gate[1] == '1' and gate[2] == ARGV[1] then
  return 0
end
local issued = tonumber(ARGV[2])
if gate[2] == ARGV[1] and gate[3] then
  issued = math.max(issued, tonumber(gate[3]))  -- settled since our reading
end
redis.call('DEL', KEYS[2])
redis.call('HSET', KEYS[1], 'ready', '1', 'epoch', ARGV[1], 'issued', issued)
redis.call('EXPIRE', KEYS[1], 86400)  -- an event that is over leaves nothing behind; a long one is loaded anew
local minute = math.floor(redis.call('TIME')[1] / 60)
for i = 3, #ARGV, 2 do
  local settled = redis.call('HGET', KEYS[3] .. minute, ARGV[i])
    or redis.call('HGET', KEYS[3] .. (minute - 1), ARGV[i])
  if settled ~= ARGV[i + 1] then
    redis.call('HSETNX', KEYS[2], ARGV[i], ARGV[i + 1])
  end
end
redis.call('EXPIRE', KEYS[2], 172800)
return 1
