-- End a running action: outcome, counters, event, lease freed, observation asked for, in one step.
-- KEYS  1 lease  2 counters  3 events  4 asks  5 wake  6 circuit
-- ARGV  1 now ('' = Redis')  2 token  3 action_id  4 runner  5 outcome  6 detail
-- Returns 'ended' (also to a repeated call by the same runner) or 'refused'
local now = seconds(now_us(ARGV[1]))
local lease = load(KEYS[1])
if not lease or lease.token ~= ARGV[2] or lease.action_id ~= ARGV[3] or lease.runner ~= ARGV[4]
  or (lease.stage == 'free' and lease.outcome ~= ARGV[5]) then
  count(KEYS[2], 'supervisor_actions_discarded_total|late_end')
  return 'refused'
end
if lease.stage == 'free' then return 'ended' end
free(KEYS, lease, now, ARGV[5], ARGV[6])
local circuit = load(KEYS[6])
if circuit and circuit.state == 'open' and circuit.opened_at > lease.begun_at then
  count(KEYS[2], 'supervisor_actions_during_circuit_total')
  observe(KEYS[2], 'supervisor_action_post_circuit_duration_seconds', '', now - circuit.opened_at, {1, 5, 10, 30, 60})
end
return 'ended'
