-- Let a tick start, or not: nobody else holds the tick lease, and it is time or somebody woke us.
-- KEYS  1 tick (string)  2 counters (hash), then the wake flag of every place (strings)
-- ARGV  1 now ('' = Redis')  2 tick id  3 tick lease in s  4 tick_interval in s  5 debounce after a wake in s
-- Returns {'started' | 'held' | 'early', now}
local us = now_us(ARGV[1])
local now = seconds(us)
local tick = load(KEYS[1]) or {schema = 1, id = '', started_at = 0, deadline = 0}
local since = now - tick.started_at
if since < 0 then since = 1e9 end -- Redis' clock went back: do not wait for it to catch up
local due = since >= 0.8 * tonumber(ARGV[4])
if tick.deadline > now and tick.deadline - now <= tonumber(ARGV[3]) then
  if due then count(KEYS[2], 'supervisor_tick_overruns_total') end
  return {'held', tostring(now)}
end
local wakes = {unpack(KEYS, 3)}
local woken = #wakes > 0 and redis.call('EXISTS', unpack(wakes)) > 0
if not due and not (woken and since >= tonumber(ARGV[5])) then
  return {'early', tostring(now)}
end
if woken then redis.call('DEL', unpack(wakes)) end
tick.id = ARGV[2]
tick.started_at = now
tick.deadline = now + tonumber(ARGV[3])
save(KEYS[1], tick)
return {'started', string.format('%.6f', us / 1000000)}
