-- Free a lease that is past its deadline: nobody can say any more how its action ended.
-- KEYS  1 lease  2 counters  3 events  4 asks  5 wake  6 tick
-- ARGV  1 now ('' = Redis')  2 token that was seen past its deadline  3 tick id ('' = nobody's)
--       4 seconds ahead beyond which a deadline is of another time: Redis' clock was set back since, or it lost data
-- Returns 1, or 0 when the lease has moved on meanwhile, the tick lease is not that tick's any more, or in a hold-off.
even_when_full(KEYS[1], KEYS[3])
local function reap()
  local now = seconds(now_us(ARGV[1]))
  local lease = load(KEYS[1])
  if not lease or lease.token ~= ARGV[2] or lease.stage == 'free' then return 0 end
  if lease.deadline >= now and lease.deadline <= now + tonumber(ARGV[4]) then return 0 end
  if ARGV[3] ~= '' then
    local tick = my_tick(KEYS[6], ARGV[3], now)
    if not tick or (tick.hold_until or 0) > now then return 0 end
  end
  local where = 'lease ran out on ' .. (lease.executor or '?')
  if lease.stage == 'queued' then
    where = tonumber(ARGV[4]) > 0 and 'never begun by any executor' or 'not known to have begun before Redis was replaced'
  end
  -- An executor that is gone says nothing of the worker: it waits once, but no longer for every executor lost in a row
  lease.failures = math.max(0, (lease.failures or 0) - 1)
  free(KEYS, lease, now, 'lost', where)
  return 1
end

-- The node that wrote the lease may be hostile: one that cannot be worked with is left as it is
local done, freed = pcall(reap)
return done and freed or 0
