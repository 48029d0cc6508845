-- End a running action: outcome, counters, event, lease freed, observation asked for, in one step.
-- KEYS  1 lease  2 counters  3 events  4 asks  5 wake  6 circuit
-- ARGV  1 now ('' = Redis')  2 token  3 action_id  4 runner  5 outcome  6 detail
--       7 '' when the execution itself says so; its executor for it: 'gone', or 'killed' when the action killed its process.
--         Who took its message ends a claim that was not begun, too: there is no other message
--       8 the larger token that an effect met, '' if none: the next claim's is larger still
-- Returns 'ended' (also to a repeated call by the same runner) or 'refused'
even_when_full(KEYS[1], KEYS[3])
local now = seconds(now_us(ARGV[1]))
local lease = load(KEYS[1])
local named = lease and lease.token == ARGV[2] and lease.action_id == ARGV[3]
local unbegun = named and lease.stage == 'queued' and ARGV[7] ~= ''
local mine = named and (unbegun or lease.runner == ARGV[4])
if mine and lease.stage == 'free' and lease.outcome == ARGV[5] then return 'ended' end
if not mine or lease.stage == 'free' then
  -- an executor reports a dead process without knowing how far it got: that its action had ended is no news
  if ARGV[7] == '' then
    count(KEYS[2], 'supervisor_actions_discarded_total|late_end')
    event(KEYS[3], {'event', 'action.discarded', 'worker_id', lease and lease.worker_id or '', 'action_id', ARGV[3],
      'token', ARGV[2], 'reason', 'late_end', 'outcome', ARGV[5], 'newest_token', lease and lease.token or ''})
  end
  return 'refused'
end
local detail = ARGV[6]
if ARGV[5] == 'cancelled' and (lease.cancel or '') ~= '' then detail = lease.cancel end
if ARGV[8] ~= '' then lease.fence = ARGV[8] end
if unbegun then lease.runner = ARGV[4] end -- so that a repeated call is answered alike
free(KEYS, lease, now, ARGV[5], detail, ARGV[7] == 'killed' and not unbegun)
local circuit = load(KEYS[6])
if circuit and circuit.state == 'open' and lease.begun_at and circuit.opened_at > lease.begun_at then
  count(KEYS[2], 'supervisor_actions_during_circuit_total')
  observe(KEYS[2], 'supervisor_action_post_circuit_duration_seconds', '', now - circuit.opened_at, {1, 5, 10, 30, 60})
end
return 'ended'
