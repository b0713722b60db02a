-- Has wrk end with one line for the scripts: `figures REQUESTS_PER_SECOND P50_US P99_US ERRORS`. With `-- MS` after the
-- URL, each connection waits before each request, MS milliseconds in the mean, as people do. wrk counts a latency from
-- the request on, so the waits are not in it.
function init(args)
  local mean = tonumber(args[1])
  if mean then
    -- Unequal, or the connections would soon ask in step. Every run draws the same numbers.
    function delay() return math.random(0, 2 * mean) end
  end
end

function done(summary, latency, _)
  local errors = 0
  for _, count in pairs(summary.errors) do errors = errors + count end
  print(string.format("figures %.1f %d %d %d", summary.requests / summary.duration * 1e6,
    latency:percentile(50), latency:percentile(99), errors))
end
