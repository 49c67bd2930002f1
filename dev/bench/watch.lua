-- For wrk: people who watch a page, each on a connection of its own. Each begins at a moment of its own and asks
-- again a second after an answer. Snapshots and other answers are counted.
-- wrk ... -- PEOPLE (one thread)
local EVERY_MS = 1000
local threads = {}

function setup(thread)
  threads[#threads + 1] = thread
end

function init(args)
  math.randomseed(os.time())
  people, waited = tonumber(args[1]), 0
  snapshots, others = 0, 0
end

function delay()
  waited = waited + 1
  return waited <= people and math.random(EVERY_MS) or EVERY_MS
end

function response(status, headers, body)
  if status == 200 and body:sub(1, 30):find('"at":', 1, true) then
    snapshots = snapshots + 1
  else
    others = others + 1
  end
end

function done(summary, latency, requests)
  local errors = summary.errors
  print(string.format(
    'WATCHED {"seconds":%.3f,"snapshots":%d,"others":%d,"broken":%d}',
    summary.duration / 1e6, threads[1]:get("snapshots"), threads[1]:get("others"),
    errors.connect + errors.read + errors.write + errors.timeout))
end
