-- End a tick: free the tick lease and keep the report, if the lease is still this tick's.
-- It rings for what was marked meanwhile: a pulse for that has met this tick, if there was one.
-- KEYS  1 tick (string)  2 counters (hash)  3 mismatches (hash)  4 scope (string), then the marks of every place (sets)
-- ARGV  1 now ('' = Redis')  2 tick id  3 report as text (JSON, stored as it is)  4 ids, as JSON, of the workers that the
--       tick found not to be as desired  5 ScopeDocument of the next tick, then per skip reason: name, number
-- Returns 1, or 0 when another tick has taken over.
even_when_full(KEYS[1])
local now = seconds(now_us(ARGV[1]))
local tick = load(KEYS[1])
if not tick or tick.id ~= ARGV[2] then return 0 end
tick.deadline = 0
tick.ended_at = now
tick.duration = math.max(0, now - tick.started_at)
tick.report = ARGV[3]
save(KEYS[1], tick)
count(KEYS[2], 'supervisor_ticks_total')
observe(KEYS[2], 'supervisor_tick_duration_seconds', '', tick.duration, {0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5})
redis.call('SET', KEYS[4], ARGV[5])
for i = 6, #ARGV, 2 do count(KEYS[2], 'supervisor_skips_total|' .. ARGV[i], tonumber(ARGV[i + 1])) end

local found = {}
for _, id in ipairs(cjson.decode(ARGV[4])) do
  found[id] = true
  redis.call('HSETNX', KEYS[3], id, string.format('%.3f', tick.started_at))
end
for _, id in ipairs(redis.call('HKEYS', KEYS[3])) do
  if not found[id] then redis.call('HDEL', KEYS[3], id) end
end
for i = 5, #KEYS do
  if redis.call('EXISTS', KEYS[i]) == 1 then
    ring(KEYS[i])
    break -- one pulse answers all
  end
end
return 1
