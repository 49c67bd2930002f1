-- Admit claims, in the order given: reserve a slot for each, or say why not. Several coupons in one run, each by itself.
-- Of each coupon three KEYS: gate hash {ready, epoch, issued, reserved}; reservations (user -> requestId); prefix of
-- the settled hashes (user -> requestId, the winners of the last one to two minutes) and of the disclosed sets (reserved
-- requestIds that a later claim was answered with, of the last one to two minutes).
-- ARGV[1], in MessagePack, of each coupon: epoch, stock, issued_count (the caller's view of the database row), and how
-- many claims follow. ARGV[2..] user, requestId, user, requestId, ...: both as bytes that no script interprets.
-- Returns of each coupon {'UNKNOWN'} (load the gate first), or per claim 'ADMITTED', 'OUT_OF_STOCK', 'IN_DOUBT' (as
-- OUT_OF_STOCK, but look at the row and ask again), or the requestId that this user already has. A repeat with the same
-- requestId is admitted again and takes no second slot, so a caller that lost the reply may ask once more
-- (of a Redis that takes writes).
local now = this_minute()
local minute, minute_before = tostring(now), tostring(now - 1)  -- once, and not for each coupon

local function admitted(gate, reservations, prefix, head, first_arg, last_arg)
  local issued, reserved = known(gate, reservations, head[1])
  if not issued then
    return {'UNKNOWN'}
  end
  local stock, issued_seen = head[2], head[3]
  -- Issuing does not change stock + issued_count, so a view that is somewhat old is as good as a new one.
  local slots = stock + issued_seen - math.max(issued + reserved, issued_seen)
  -- Nothing is under way and yet the view has stock: the view is old, or this gate's count is wrong.
  local none_left = (reserved == 0 and stock > 0) and 'IN_DOUBT' or 'OUT_OF_STOCK'
  if slots >= 1 then
    none_left = 'OUT_OF_STOCK'
  end
  local settled, settled_before = prefix .. minute, prefix .. minute_before
  local answers, taken = {}, 0
  for i = first_arg, last_arg, 2 do
    local user, request = ARGV[i], ARGV[i + 1]
    local won = request_of(settled, user) or request_of(settled_before, user)
    if not won and slots >= 1 and redis.call('HSETNX', reservations, user, request) == 1 then
      slots, taken = slots - 1, taken + 1
      answers[#answers + 1] = 'ADMITTED'
    else
      local reserved_for, is_damaged = request_of(reservations, user)
      local first = reserved_for or won
      if is_damaged then
        -- Loading finds the user's request in the log. Reservations made by this call stand: the claims ask
        -- again.
        answers = {'UNKNOWN'}
        break
      elseif first == request then
        answers[#answers + 1] = 'ADMITTED'
      elseif first then
        answers[#answers + 1] = first
        if reserved_for then
          local disclosed = prefix .. 'told:' .. minute
          only('set', disclosed)
          redis.call('SADD', disclosed, first)
          redis.call('EXPIRE', disclosed, 130)
        end
      else
        answers[#answers + 1] = none_left
      end
    end
  end
  if taken > 0 then
    redis.call('HINCRBY', gate, 'reserved', taken)
    if reserved == 0 then
      redis.call('EXPIRE', reservations, 172800)  -- a hash that Redis made anew has no expiry
      as_table(reservations)
    end
  end
  return answers
end

local told, first_arg = {}, 2
for i, head in ipairs(cmsgpack.unpack(ARGV[1])) do
  local last_arg = first_arg + 2 * head[4] - 1
  told[i] = admitted(KEYS[3 * i - 2], KEYS[3 * i - 1], KEYS[3 * i], head, first_arg, last_arg)
  first_arg = last_arg + 1
end
return told
