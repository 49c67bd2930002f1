-- Admit claims on one coupon, in the order given: reserve a slot for each, or say why not.
-- KEYS[1] gate hash {ready, epoch, issued, reserved}; KEYS[2] reservations (user -> requestId);
-- KEYS[3] prefix of the settled hashes (user -> requestId, the winners of the last one to two minutes) and of
-- the disclosed sets (reserved requestIds that a later claim was answered with, of the last one to two
-- minutes) ARGV[1] epoch, ARGV[2] stock, ARGV[3] issued_count: the caller's view of the database row
-- ARGV[4..] user, requestId, user, requestId, ... both as bytes that no script interprets Returns {'UNKNOWN'}
-- (load the gate first), else per claim 'ADMITTED', 'OUT_OF_STOCK', 'IN_DOUBT' (as OUT_OF_STOCK, but look at
-- the row and ask again), or the requestId that this user already has. A repeat with the same requestId is
-- admitted again and takes no second slot, so a caller that lost the reply may ask once more.
local issued, reserved = known(KEYS[1], KEYS[2], ARGV[1])
if not issued then
  return {'UNKNOWN'}
end
local stock, issued_seen = tonumber(ARGV[2]), tonumber(ARGV[3])
-- Issuing does not change stock + issued_count, so a view that is somewhat old is as good as a new one.
local slots = stock + issued_seen - math.max(issued + reserved, issued_seen)
-- Nothing is under way and yet the view has stock: the view is old, or this gate's count is wrong.
local none_left = (reserved == 0 and stock > 0) and 'IN_DOUBT' or 'OUT_OF_STOCK'
if slots >= 1 then
  none_left = 'OUT_OF_STOCK'
end
local minute = this_minute()
local settled, settled_before = KEYS[3] .. minute, KEYS[3] .. (minute - 1)
only('hash', settled)
only('hash', settled_before)
local answers, taken = {}, 0
for i = 4, #ARGV, 2 do
  local user, request = ARGV[i], ARGV[i + 1]
  local reserved_for, is_damaged = request_of(KEYS[2], user)
  if is_damaged then
    -- Loading finds the user's request in the log. Reservations made by this call stand: the claims ask
    -- again.
    count(KEYS[1], taken)
    return {'UNKNOWN'}
  end
  local first = reserved_for or request_of(settled, user) or request_of(settled_before, user)
  if first == request then
    answers[#answers + 1] = 'ADMITTED'
  elseif first then
    answers[#answers + 1] = first
    if reserved_for then
      local disclosed = KEYS[3] .. 'told:' .. minute
      only('set', disclosed)
      redis.call('SADD', disclosed, first)
      redis.call('EXPIRE', disclosed, 130)
    end
  elseif slots < 1 then
    answers[#answers + 1] = none_left
  else
    redis.call('HSET', KEYS[2], user, request)
    slots, taken = slots - 1, taken + 1
    answers[#answers + 1] = 'ADMITTED'
  end
end
if taken > 0 and reserved == 0 then
  redis.call('EXPIRE', KEYS[2], 172800)  -- a hash that Redis made anew has no expiry
end
count(KEYS[1], taken)
return answers
