-- Cancel the action in progress: free it while it is queued, ask its executor to end it while it runs.
-- KEYS  1 lease  2 counters  3 events  4 asks  5 wake  6 the supervisor's events: no node can remove what operators did
-- ARGV  1 now ('' = Redis')  2 token ('' = whatever is in progress)  3 reason  4 1 to free a running lease at once
--       5 the operator who cancels ('' = none)  6 why
-- Returns 'cancelled' (freed), 'asked' or 'nothing' (no such action in progress)
even_when_full(KEYS[1], KEYS[3], KEYS[6])
local now = seconds(now_us(ARGV[1]))
local lease = load(KEYS[1])
if not lease or lease.stage == 'free' or (ARGV[2] ~= '' and lease.token ~= ARGV[2]) then return 'nothing' end
if (ARGV[5] or '') ~= '' then
  event(KEYS[6], {'event', 'operator.cancel', 'worker_id', lease.worker_id, 'action', lease.action,
    'action_id', lease.action_id, 'forced', ARGV[4], 'by', ARGV[5], 'reason', ARGV[6]})
end
if ARGV[4] == '1' then
  lease.runner = '' -- whoever runs it holds nothing any more
  free(KEYS, lease, now, 'cancelled', ARGV[3])
  return 'cancelled'
end
return ask_to_cancel(KEYS, lease, now, ARGV[3])
