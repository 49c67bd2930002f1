-- Forget everything about one coupon; the next claim loads the gate anew.
-- KEYS as in admit.lua; no ARGV. Settled sets live for 130 seconds, so four minutes hold them all.
local minute = this_minute()
for back = 0, 3 do
  redis.call('DEL', KEYS[3] .. (minute - back), KEYS[3] .. 'told:' .. (minute - back))
end
return redis.call('DEL', KEYS[1], KEYS[2])
