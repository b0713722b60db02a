-- Makes wrk print a last line for the scripts: `figures REQUESTS_PER_SECOND P50_US P99_US ERRORS`. With `-- MS` after the
-- URL, each connection waits MS milliseconds on average before each request, as people do. wrk measures a latency from
-- the request on, so it does not include the waits.
function init(args)
  local mean = tonumber(args[1])
  if mean then
    -- Random, because connections with equal waits would soon move in step. Every run draws the same numbers.
    function delay() return math.random(0, 2 * mean) end
  end
end

function done(summary, latency, _)
  local errors = 0
  for _, count in pairs(summary.errors) do errors = errors + count end
  print(string.format("figures %.1f %d %d %d", summary.requests / summary.duration * 1e6,
    latency:percentile(50), latency:percentile(99), errors))
end
