-- Fill an empty gate from the database and the undecided events of the log, in one call or several.
-- KEYS as in admit.lua; KEYS[4] where the reservations of this loading are put together, its own
-- ARGV[1] epoch, ARGV[2] issued_count, ARGV[3] '1' in the last call, else '0', ARGV[4..] user, requestId, ...
-- Does nothing where another process loaded it meanwhile: its reservations are newer than our reading.
-- Returns whether this loading goes on, in the last call whether it was done.
if known(KEYS[1], KEYS[2], ARGV[1]) then
  redis.call('DEL', KEYS[4])
  return 0
end
local minute = this_minute()
local settled, settled_before = KEYS[3] .. minute, KEYS[3] .. (minute - 1)
only('hash', settled)
only('hash', settled_before)
local gate = redis.call('HMGET', KEYS[1], 'epoch', 'issued')
local issued = tonumber(ARGV[2])
-- A count above ours, of the same row: settled since our reading, or our row is an old one. A count never goes
-- back by itself, and the winners that it counts need no reservation beside it. Winners that it does not count
-- do need one: their database went back, and will decide them again.
local is_ahead = gate[1] == ARGV[1] and (whole(gate[2]) or 0) > issued
local is_one_of_several = redis.call('EXISTS', KEYS[4]) == 1 or ARGV[3] == '0'
for i = 4, #ARGV, 2 do
  local won = is_ahead
    and (redis.call('HGET', settled, ARGV[i]) or redis.call('HGET', settled_before, ARGV[i]))
  if won ~= ARGV[i + 1] then
    redis.call('HSETNX', KEYS[4], ARGV[i], ARGV[i + 1])
  end
end
if ARGV[3] == '0' then
  redis.call('EXPIRE', KEYS[4], 60)
  return 1
end
if is_ahead then
  issued = whole(gate[2])
end
if is_ahead and is_one_of_several then
  for _, key in ipairs({settled, settled_before}) do  -- decided between our calls
    local winners = redis.call('HGETALL', key)
    for i = 1, #winners, 2 do
      if redis.call('HGET', KEYS[4], winners[i]) == winners[i + 1] then
        redis.call('HDEL', KEYS[4], winners[i])
      end
    end
  end
end
-- The first write of all may grow: a Redis that is full refuses here, before anything is lost.
redis.call('HSET', KEYS[1], 'ready', '1', 'epoch', ARGV[1], 'issued', issued)
redis.call('DEL', KEYS[2])
if redis.call('EXISTS', KEYS[4]) == 1 then
  redis.call('RENAME', KEYS[4], KEYS[2])
end
redis.call('HSET', KEYS[1], 'reserved', redis.call('HLEN', KEYS[2]))
redis.call('EXPIRE', KEYS[1], 86400)  -- an event that is over leaves nothing behind; a long one is loaded anew
redis.call('EXPIRE', KEYS[2], 172800)
return 1
