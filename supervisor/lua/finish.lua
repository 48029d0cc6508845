-- End a tick: free the tick lease and keep the report, if the lease is still this tick's.
-- KEYS  1 tick (string)  2 counters (hash)
-- ARGV  1 now ('' = Redis')  2 tick id  3 report as text (JSON, stored as it is), then per skip reason: name, number
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
for i = 4, #ARGV, 2 do count(KEYS[2], 'supervisor_skips_total|' .. ARGV[i], tonumber(ARGV[i + 1])) end
return 1
