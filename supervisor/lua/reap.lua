-- Free a lease that is past its deadline: nobody can say any more how its action ended.
-- KEYS  1 lease  2 counters  3 events  4 asks  5 wake
-- ARGV  1 now ('' = Redis')  2 token that was seen past its deadline
-- Returns 1, or 0 when the lease has moved on meanwhile.
local now = seconds(now_us(ARGV[1]))
local lease = load(KEYS[1])
if not lease or lease.token ~= ARGV[2] or lease.stage == 'free' or lease.deadline >= now then return 0 end
local where = lease.stage == 'queued' and 'never begun by any executor' or 'lease ran out on ' .. (lease.executor or '?')
free(KEYS, lease, now, 'lost', where)
return 1
