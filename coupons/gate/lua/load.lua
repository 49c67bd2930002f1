-- Fill an empty gate from the database and the undecided events of the log, in one call or several.
-- KEYS as in admit.lua; KEYS[4] a hash of this loading's own, in which its reservations are put together
-- ARGV[1] epoch, ARGV[2] issued_count, ARGV[3] '1' in the last call, else '0', ARGV[4..] user, requestId, ...
-- Does nothing where another process loaded the gate meanwhile: that gate is newer than our reading.
-- Returns 1 if this loading goes on, and in the last call if the gate was loaded by it; else 0.
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
-- The gate may count more than our row: more was issued since our reading, or our row is an old one. The
-- count of one row never goes back by itself, so the gate's count stands, and the winners that it includes
-- need no reservation. Winners that it does not include need one: the database went back, and will decide
-- them again.
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
-- This first write needs memory: a Redis that is full refuses it, before anything is lost.
redis.call('HSET', KEYS[1], 'ready', '1', 'epoch', ARGV[1], 'issued', issued, 'history', history())
redis.call('DEL', KEYS[2])
if redis.call('EXISTS', KEYS[4]) == 1 then
  redis.call('RENAME', KEYS[4], KEYS[2])
  as_table(KEYS[2])
end
redis.call('HSET', KEYS[1], 'reserved', redis.call('HLEN', KEYS[2]))
redis.call('EXPIRE', KEYS[1], 86400)  -- a finished coupon leaves nothing behind; a longer one is loaded anew
redis.call('EXPIRE', KEYS[2], 172800)
return 1
