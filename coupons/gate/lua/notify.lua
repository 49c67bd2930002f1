-- Record decided requests of one coupon, after their commit.
-- KEYS as in admit.lua; ARGV[1] epoch, ARGV[2] issued_count after the commit,
-- ARGV[3..] user, requestId, '1' if issued else '0', ...
-- Absolute and idempotent: a redelivered batch leads to the same state.
-- Frees before it writes: a full Redis takes HDEL, and lets a script that began with HDEL write on.
only('hash', KEYS[1])
only('hash', KEYS[2])
redis.call('HDEL', KEYS[1], 'none')
local freed = 0
for i = 3, #ARGV, 3 do
  if request_of(KEYS[2], ARGV[i]) == ARGV[i + 1] then
    redis.call('HDEL', KEYS[2], ARGV[i])
    freed = freed + 1
  end
end
count(KEYS[1], -freed)
local gate = redis.call('HMGET', KEYS[1], 'epoch', 'issued')
if gate[1] ~= ARGV[1] then
  redis.call('DEL', KEYS[1])
  redis.call('HSET', KEYS[1], 'epoch', ARGV[1], 'issued', ARGV[2])
  redis.call('EXPIRE', KEYS[1], 86400)
elseif tonumber(ARGV[2]) > (whole(gate[2]) or -1) then
  redis.call('HSET', KEYS[1], 'issued', ARGV[2])
end
-- Winners are remembered for a minute at least: the second claim of a winner, which looked in the database
-- just before the commit and asks the gate just after, is still recognised.
local settled = KEYS[3] .. this_minute()
only('hash', settled)
local is_new = redis.call('EXISTS', settled) == 0
for i = 3, #ARGV, 3 do
  if ARGV[i + 2] == '1' then
    redis.call('HSET', settled, ARGV[i], ARGV[i + 1])
    if is_new then
      as_table(settled)
      is_new = false
    end
  end
end
redis.call('EXPIRE', settled, 130)
return 1
