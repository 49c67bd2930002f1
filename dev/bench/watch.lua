-- For wrk: people who watch a page, each on a connection of its own. Each begins at a moment of its own, and asks
-- again when it was answered, as the page's script does. Snapshots and other answers are counted.
-- wrk ... -- PEOPLE PATH (one thread)
local FIRST_MS, AGAIN_MS = 1000, 10
local threads = {}

function setup(thread)
  threads[#threads + 1] = thread
end

function init(args)
  math.randomseed(os.time())
  people, path, waited = tonumber(args[1]), args[2], 0
  newest, snapshots, others = 0, 0, 0
end

function delay()
  waited = waited + 1
  return waited <= people and math.random(FIRST_MS) or AGAIN_MS
end

function request()
  return wrk.format("GET", string.format("%s&after=%.0f", path, newest))
end

function response(status, headers, body)
  local at = status == 200 and tonumber(body:match('^{"at":(%d+)'))
  if at then
    snapshots = snapshots + 1
    newest = math.max(newest, at)
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
