-- Keep running leases alive: one call for all of an executor's. What Redis has lost (restarted, failed over, emptied)
-- is written again, unless a newer token exists or the worker is known to be gone from that place.
-- KEYS  per lease: lease, index (hash)
-- ARGV  1 now ('' = Redis')  2 lease_ttl in s  3 executor, then per lease: JSON {worker_id, place, action, action_id, token,
--       runner, timeout, begun_ago (s since its process took it up)}
-- Returns per lease: 'renewed', 'queued' (not begun yet: nothing to renew), 'recreated', 'ended' (by this very execution,
-- whose executor has not seen it yet) or 'lost'
if #KEYS > 0 then even_when_full(KEYS[1]) end
local now = seconds(now_us(ARGV[1]))
local ttl = tonumber(ARGV[2])
local BEGINS_WITHIN = 3 -- s after which a process that works on an action must have begun it: the begin was lost

local function recreate(key, held, lost)
  local lease = {schema = 1, worker_id = held.worker_id, action = held.action, reason = 'written again by its executor',
    failures = lost and lost.failures, kills = lost and lost.kills}
  if lost and lost.token == held.token then lease = lost end
  lease.token, lease.action_id, lease.timeout = held.token, held.action_id, held.timeout
  lease.stage, lease.runner, lease.executor = 'running', held.runner, ARGV[3]
  lease.begun_at = seconds((now - held.begun_ago) * 1000000)
  lease.claimed_at = lease.claimed_at or lease.begun_at
  lease.deadline = now + ttl
  save(key, lease)
  return 'recreated'
end

local answers = {}
for i = 1, #ARGV - 3 do
  local key, index = KEYS[2 * i - 1], KEYS[2 * i]
  local held = cjson.decode(ARGV[3 + i])
  local lease = load(key)
  local gone = redis.call('EXISTS', index) == 1 and redis.call('HGET', index, held.worker_id) ~= held.place
  if not lease or tonumber(lease.token) < tonumber(held.token) then
    answers[i] = gone and 'lost' or recreate(key, held, lease)
  elseif lease.token ~= held.token or lease.action_id ~= held.action_id then
    answers[i] = 'lost'
  elseif lease.stage == 'free' then
    answers[i] = lease.runner == held.runner and lease.outcome ~= 'lost' and 'ended' or 'lost'
  elseif lease.stage == 'queued' then
    answers[i] = held.begun_ago < BEGINS_WITHIN and 'queued' or recreate(key, held, lease)
  elseif lease.runner ~= held.runner then
    answers[i] = 'lost'
  else
    lease.deadline = now + ttl
    save(key, lease)
    answers[i] = 'renewed'
  end
end
return answers
