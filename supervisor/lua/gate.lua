-- Let a tick start, or not: nobody else holds the tick lease, and it is time or somebody woke us.
-- It also notices that Redis is not the one it was, or had its clock set, and then begins a hold-off.
-- KEYS  1 tick (string)  2 counters (hash)  3 events (stream)  4 scope (string), then the marks of every place (sets)
-- ARGV  1 now ('' = Redis')  2 tick id  3 tick lease in s  4 tick_interval in s  5 debounce after a wake in s
--       6 hold-off in s  7 1 if a mirror on disk says that there was a fleet before  8 1 if the caller saw the clock step
--       9 the most ids that are worth to be told one by one
-- Returns {'started' | 'held' | 'early', now, why a hold-off began or ''}, and for a tick that starts: the id of the last
-- one, the scope that was kept, and the ids that were marked, or '*': anything
even_when_full(KEYS[1], KEYS[3])
local us = now_us(ARGV[1])
local now = seconds(us)
local tick = load(KEYS[1])
local why = ''
if not tick then
  tick = {schema = 1, id = '', started_at = 0, deadline = 0, run_id = run_id()}
  if ARGV[7] == '1' then why = 'emptied' end
elseif (tick.run_id or '') ~= run_id() then
  why = 'restarted'
elseif ARGV[8] == '1' or now < tick.started_at - 1 then
  why = 'clock set'
end
if why ~= '' then
  hold_off(tick, now, tonumber(ARGV[6]))
  event(KEYS[3], {'event', 'store.hold_off', 'reason', why, 'seconds', ARGV[6]})
end

local since = now - tick.started_at
if since < 0 then since = 1e9 end -- Redis' clock went back: do not wait for it to catch up
local due = since >= 0.8 * tonumber(ARGV[4])
if tick.deadline > now and tick.deadline - now <= tonumber(ARGV[3]) then
  if due then count(KEYS[2], 'supervisor_tick_overruns_total') end
  return {'held', tostring(now), why}
end
local wakes = {unpack(KEYS, 5)}
local woken = #wakes > 0 and redis.call('EXISTS', unpack(wakes)) > 0
if not due and not (woken and since >= tonumber(ARGV[5])) then
  return {'early', tostring(now), why}
end
local last = tick.id
tick.id = ARGV[2]
tick.started_at = now
tick.deadline = now + tonumber(ARGV[3])
save(KEYS[1], tick)
local answer = {'started', string.format('%.6f', us / 1000000), why, last, redis.call('GET', KEYS[4]) or ''}
if not woken then return answer end

-- marks(): a node writes its own, and may be hostile; what is no set says that anything may have changed
local function marks()
  local found = {}
  for _, wake in ipairs(wakes) do
    local number = redis.pcall('SCARD', wake)
    if type(number) ~= 'number' or number + #found > tonumber(ARGV[9]) then return {'*'} end
    for _, id in ipairs(redis.call('SMEMBERS', wake)) do found[#found + 1] = id end
  end
  return found
end
for _, id in ipairs(marks()) do answer[#answer + 1] = id end
redis.call('DEL', unpack(wakes))
return answer
