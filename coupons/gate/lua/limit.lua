-- Take a token for each request from the buckets of its address and of its user, in the order given; none
-- where one of the two is empty.
-- KEYS: buckets, each once: those of addresses, then those of users. A bucket is the time at which it will be
-- full, in microseconds; a full one is no key.
-- ARGV[1..2] of addresses: microseconds between two tokens, and until an empty bucket is full; ARGV[3..4] the
-- same of users; ARGV[5] how many KEYS are of addresses; ARGV[6..] for each request the index of its address
-- and that of its user, 0 for none.
-- Returns four numbers for each request, in microseconds: of its address how long it must wait (0: the token
-- is taken) and how long until the bucket is full, then the same of its user; -1, -1 for none.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local addresses = tonumber(ARGV[5])
local full_at, taken = {}, {}
for i, text in ipairs(redis.call('MGET', unpack(KEYS))) do
  full_at[i] = math.max(text and whole(text) or now, now)
end

local function of(index)
  local first = index <= addresses and 1 or 3
  return tonumber(ARGV[first]), tonumber(ARGV[first + 1])
end

local function wait(index)
  if index == 0 then
    return 0
  end
  local interval, depth = of(index)
  return math.max(0, full_at[index] + interval - depth - now)
end

local function take(index)
  if index > 0 then
    full_at[index] = full_at[index] + of(index)
    taken[index] = true
  end
end

local answer = {}
for i = 6, #ARGV, 2 do
  local asked = {tonumber(ARGV[i]), tonumber(ARGV[i + 1])}
  local waits = {wait(asked[1]), wait(asked[2])}
  if waits[1] == 0 and waits[2] == 0 then
    take(asked[1])
    take(asked[2])
  end
  for each, index in ipairs(asked) do
    answer[#answer + 1] = index == 0 and -1 or waits[each]
    answer[#answer + 1] = index == 0 and -1 or full_at[index] - now
  end
end
for index in pairs(taken) do
  local filling_ms = math.ceil((full_at[index] - now) / 1000)
  redis.call('SET', KEYS[index], string.format('%.0f', full_at[index]), 'PX', filling_ms)
end
return answer
