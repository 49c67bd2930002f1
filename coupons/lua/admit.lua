-- Admit claims on one coupon, in the order given: reserve a slot for each, or say why not.
-- KEYS[1] gate hash {ready, epoch, issued}; KEYS[2] reservations (user -> requestId);
-- KEYS[3] prefix of the settled sets (user -> requestId, the winners of the last one to two minutes) and of the
-- told sets (reserved requestIds that somebody else's claim was answered with, of the last one to two minutes)
-- ARGV[1] epoch, ARGV[2] stock, ARGV[3] issued_count: the caller's view of the database row
-- ARGV[4..] user, requestId, user, requestId, ... both as bytes, which nothing here looks into
-- Returns {'UNKNOWN'} (load the gate first), else per claim 'ADMITTED', 'OUT_OF_STOCK', or the
-- requestId that this user already has. A repeat with the same requestId is admitted again and
-- takes no second slot, so a caller that lost the reply may ask once more.
local gate = redis.call('HMGET', KEYS[1], 'ready', 'epoch', 'issued')
if gate[1] ~= '1' or gate[2] ~= ARGV[1] then
  return {'UNKNOWN'}
end
local stock, issued_seen = tonumber(ARGV[2]), tonumber(ARGV[3])
local reserved = redis.call('HLEN', KEYS[2])
-- stock + issued_count does not change by issuing, so a view that is somewhat old is as good as new.
local slots = stock + issued_seen - math.max(tonumber(gate[3]) + reserved, issued_seen)
if slots < 1 and reserved == 0 and stock > 0 then
  -- Nothing is under way and the database has stock: this count is wrong. Start again from the truth.
  redis.call('HDEL', KEYS[1], 'ready', 'issued')
  return {'UNKNOWN'}
end
local minute = math.floor(redis.call('TIME')[1] / 60)
local answers = {}
for i = 4, #ARGV, 2 do
  local user, request = ARGV[i], ARGV[i + 1]
  local reserved_for = redis.call('HGET', KEYS[2], user)
  local first = reserved_for
    or redis.call('HGET', KEYS[3] .. minute, user)
    or redis.call('HGET', KEYS[3] .. (minute - 1), user)
  if first == request then
    answers[#answers + 1] = 'ADMITTED'
  elseif first then
    answers[#answers + 1] = first
    if reserved_for then
      local told = KEYS[3] .. 'told:' .. minute
      redis.call('SADD', told, first)
      redis.call('EXPIRE', told, 130)
    end
  elseif slots < 1 then
    answers[#answers + 1] = 'OUT_OF_STOCK'
  else
    redis.call('HSET', KEYS[2], user, request)
    slots = slots - 1
    answers[#answers + 1] = 'ADMITTED'
  end
end
return answers
