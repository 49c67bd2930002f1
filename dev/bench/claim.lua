-- For wrk: claims by users who have not come before, answers counted by status and by code.
-- wrk ... -- FIRST_USER THREADS TICKETS HEAD ..., where HEAD .. user is a request's target, one head after the
-- other, and TICKETS is a file with a line for each user from FIRST_USER on, or - for none (one thread then)
local threads = {}

function setup(thread)
  thread:set("number", #threads)
  threads[#threads + 1] = thread
end

function init(args)
  heads, tail = {}, " HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 0\r\n"
  user, step = tonumber(args[1]) + number, tonumber(args[2])
  tickets = args[3] ~= "-" and io.open(args[3]) or nil
  for each = 4, #args do
    heads[each - 3] = "POST " .. args[each]
  end
  statuses, codes, asked = {}, {}, 0
end

function request()
  local claimant = user
  user = user + step
  asked = asked + 1
  local ticket = tickets and tickets:read("*l")
  local rest = ticket and "Authorization: Bearer " .. ticket .. "\r\n\r\n" or "\r\n"
  return heads[claimant % #heads + 1] .. claimant .. tail .. rest
end

function response(status, headers, body)
  statuses[status] = (statuses[status] or 0) + 1
  if status ~= 202 then
    local code = body:match('"code":"([%u_]+)"') or "NONE"
    codes[code] = (codes[code] or 0) + 1
  end
end

local function added(name)
  local sums, pairs_of = {}, {}
  for _, thread in ipairs(threads) do
    for key, count in pairs(thread:get(name)) do
      sums[key] = (sums[key] or 0) + count
    end
  end
  for key, count in pairs(sums) do
    pairs_of[#pairs_of + 1] = string.format('"%s":%d', key, count)
  end
  return "{" .. table.concat(pairs_of, ",") .. "}"
end

function done(summary, latency, requests)
  local most, errors = 0, summary.errors
  for _, thread in ipairs(threads) do
    most = math.max(most, thread:get("asked"))
  end
  print(string.format(
    'COUNTED {"seconds":%.6f,"statuses":%s,"codes":%s,"used":%d,"errors":%d}',
    summary.duration / 1e6, added("statuses"), added("codes"), most * #threads,
    errors.connect + errors.read + errors.write + errors.timeout))
end
