-- Keep running leases alive: one call for all of an executor's.
-- KEYS  leases
-- ARGV  1 now ('' = Redis')  2 lease_ttl in s, then per lease: token, action_id
-- Returns per lease: 'renewed', 'queued' (not begun yet: nothing to renew) or 'lost'
local now = seconds(now_us(ARGV[1]))
local answers = {}
for i, key in ipairs(KEYS) do
  local lease = load(key)
  if not lease or lease.token ~= ARGV[1 + 2 * i] or lease.action_id ~= ARGV[2 + 2 * i] or lease.stage == 'free' then
    answers[i] = 'lost'
  elseif lease.stage == 'queued' then
    answers[i] = 'queued'
  else
    lease.deadline = now + tonumber(ARGV[2])
    save(key, lease)
    answers[i] = 'renewed'
  end
end
return answers
