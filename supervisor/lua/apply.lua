-- Apply one batch of a tick's plan: circuit, statuses, claims, with their counters and events; and renew the tick lease.
-- Nothing at all happens unless the tick lease is still this tick's: a tick that was paused and wakes late changes nothing.
-- KEYS  1 tick  2 circuit  3 generations (hash)  4 the supervisor's counters  5 the supervisor's events
--       6 incidents (hash), then per place
--       counters, events, asks, wake, history; then per item
--       lease, status
-- ARGV  1 now ('' = Redis')  2 tick id  3 tick lease in s, then per item what its lease becomes, as JSON, if it is claimed
--       (it holds timeout, failures and kills to go on from, and counted_as, if that labels its counters instead of the id);
--       and last, as JSON:
--       circuit_generation   what the plan was made under
--       circuit              new document as text (optional), incident {id, text, most kept} (optional), counters [[field, n]…], events [[name, value…]…]
--       history_kept         decisions that each place's history keeps
--       places               how many there are
--       items                {id, place, status?, moved?, events? [[name, value…]…], counters? [field…], claim?, cancel?, frame?}
--                            place: its number, from 1
--                            claim = {token, generation, ttl, and of its lease: worker_id, action, action_id, reason,
--                            counted_as?, trace_id?}
--                            cancel = {token, reason}: the action in progress under that token is asked to give up
--                            claim.token: the last token the plan saw ('' = none); claim.generation: of desired
-- Returns {'applied', now, per item: token | '' (nothing claimed) | 'refused:<why>'} or {'refused:tick'}
local full = even_when_full(KEYS[1], KEYS[5])
local us = now_us(ARGV[1])
local now = seconds(us)
local tick = my_tick(KEYS[1], ARGV[2], now)
if not tick then return {'refused:tick'} end
tick.deadline = now + tonumber(ARGV[3])
save(KEYS[1], tick)

local batch = cjson.decode(ARGV[#ARGV])
tally = {} -- most items of a place count the same
local circuit = load(KEYS[2])
local same_circuit = (circuit and circuit.generation or 0) == batch.circuit_generation
if batch.circuit then
  if not same_circuit then return {'refused:circuit'} end
  redis.call('SET', KEYS[2], batch.circuit)
end
if batch.incident then
  redis.call('HSET', KEYS[6], batch.incident.id, batch.incident.text)
  local ids = redis.call('HKEYS', KEYS[6])
  table.sort(ids)
  for i = 1, #ids - batch.incident.kept do redis.call('HDEL', KEYS[6], ids[i]) end
end
for _, counter in ipairs(batch.counters) do count(KEYS[4], counter[1], counter[2]) end
for _, fields in ipairs(batch.events) do event(KEYS[5], fields) end

local held = (tick.hold_until or 0) > now -- Redis may have lost leases: who holds them is about to renew them

local function claim(keys, id, wanted, text)
  if held then return 'refused:hold_off' end
  if full then return 'refused:full' end -- its message would not be taken either
  local lease = load(keys[1])
  if lease and lease.stage ~= 'free' then return 'refused:in_progress' end
  if (lease and lease.token or '') ~= wanted.token then return 'refused:token' end
  if tonumber(redis.call('HGET', KEYS[3], id) or 0) ~= wanted.generation then return 'refused:generation' end
  if not same_circuit then return 'refused:circuit' end
  return grant({keys[1], keys[3], keys[4]}, lease, wanted, text, us, wanted.ttl)
end

local function cancel(keys, wanted)
  local lease = load(keys[1])
  if not lease or lease.stage == 'free' or lease.token ~= wanted.token then return end
  ask_to_cancel({keys[1], keys[3], keys[4], keys[5], keys[6]}, lease, now, wanted.reason)
end

-- A lease is written by its node, which may be hostile: one that cannot be worked with costs its own worker, not the batch.
local function guarded(act, ...)
  local done, answer = pcall(act, ...)
  if done then return answer end
  return 'refused:unreadable'
end

local answers = {'applied', string.format('%.3f', now)}
local first_item = 6 + 5 * batch.places
for i, item in ipairs(batch.items) do
  local lease, place = first_item + 2 * i - 1, 6 + 5 * (item.place - 1)
  local keys = {KEYS[lease], KEYS[lease + 1], KEYS[place + 1], KEYS[place + 2], KEYS[place + 3], KEYS[place + 4]}
  if item.status then redis.call('SET', keys[2], item.status) end
  if item.moved then mark(keys[6], item.id, true) end -- a state or an action: the action that follows a state need not wait
  for _, fields in ipairs(item.events or {}) do event(keys[4], fields) end
  for _, field in ipairs(item.counters or {}) do count(keys[3], field) end
  if item.frame and full then
    redis.call('XTRIM', KEYS[place + 5], 'MAXLEN', 0) -- what is only for people to look back on gives way first
  elseif item.frame then
    redis.call('XADD', KEYS[place + 5], 'MAXLEN', '~', batch.history_kept, '*', 'worker_id', item.id, 'frame', item.frame)
  end
  if item.cancel and not held then guarded(cancel, keys, item.cancel) end
  local answer = item.claim and guarded(claim, keys, item.id, item.claim, ARGV[3 + i]) or ''
  if string.sub(answer, 1, 8) == 'refused:' then
    count(KEYS[4], 'supervisor_claims_refused_total|' .. string.sub(answer, 9))
  end
  answers[i + 2] = answer
end
write_counts()
return answers
