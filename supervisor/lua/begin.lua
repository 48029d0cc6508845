-- Begin to run a claimed action. Idempotent for its runner: a repeated call gets the first answer.
-- KEYS  1 lease  2 counters  3 events  4 tick, then documents to return, as they are when it begins
-- ARGV  1 now ('' = Redis')  2 worker id  3 token  4 action_id  5 runner (one execution attempt)  6 executor  7 lease_ttl in s
--       8 action
-- Returns {'begun', now, the documents, '' for one that is not there}, or {'discarded', why}, which is counted and told.
-- What was claimed before Redis may have lost data is not begun: it may have begun, and ended, where Redis has forgotten it.
even_when_full(KEYS[1], KEYS[3])
local now = seconds(now_us(ARGV[1]))
local lease = load(KEYS[1])
local function discard(why)
  count(KEYS[2], 'supervisor_actions_discarded_total|' .. why)
  event(KEYS[3], {'event', 'action.discarded', 'worker_id', ARGV[2], 'action', ARGV[8], 'action_id', ARGV[4],
    'token', ARGV[3], 'reason', why, 'executor', ARGV[6]})
  return {'discarded', why}
end
local function begun(at)
  local answer = {'begun', tostring(at)}
  for i = 5, #KEYS do answer[#answer + 1] = redis.call('GET', KEYS[i]) or '' end
  return answer
end
if not lease then return discard('no_lease') end
if lease.token ~= ARGV[3] or lease.action_id ~= ARGV[4] then return discard('other_token') end
if lease.stage == 'free' then return discard('ended') end
if lease.stage == 'running' then
  if lease.runner == ARGV[5] then return begun(lease.begun_at) end
  return discard('running_elsewhere')
end
if lease.deadline < now then return discard('past_deadline') end
local tick = load(KEYS[4])
if tick and ((tick.run_id or '') ~= run_id() or lease.claimed_at <= (tick.data_since or 0)) then
  return discard('other_redis')
end
lease.stage = 'running'
lease.begun_at = now
lease.runner = ARGV[5]
lease.executor = ARGV[6]
lease.deadline = now + tonumber(ARGV[7])
save(KEYS[1], lease)
local wait = math.max(0, now - lease.claimed_at)
observe(KEYS[2], 'supervisor_action_queue_wait_seconds', '|' .. lease.action, wait,
  {0.01, 0.05, 0.1, 0.25, 0.5, 1, 5, 10, 30})
event(KEYS[3], traced(lease, {'event', 'action.begun', 'worker_id', lease.worker_id, 'action', lease.action,
  'action_id', lease.action_id, 'token', lease.token, 'executor', ARGV[6],
  'queue_wait', string.format('%.3f', wait)}))
return begun(now)
