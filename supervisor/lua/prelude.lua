-- Put in front of every script. Times are epoch seconds with milliseconds: cjson writes 14 digits, which holds them.
-- Tokens are microseconds and travel as text.

-- now_us(given): Redis' own time in microseconds, or the caller's when a test injects its clock ('' = none).
local function now_us(given)
  if given ~= '' then return math.floor(tonumber(given) * 1000000 + 0.5) end
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000000 + tonumber(time[2])
end

local function seconds(us) return math.floor(us / 1000 + 0.5) / 1000 end

local function load(key)
  local text = redis.call('GET', key)
  return text and cjson.decode(text) or nil
end

local function save(key, document) redis.call('SET', key, cjson.encode(document)) end

-- run_id(): of the Redis that runs this; '' where it cannot be told. Another one may have lost what was written last.
local function run_id()
  local info = redis.pcall('INFO', 'server')
  return type(info) == 'string' and string.match(info, 'run_id:(%w+)') or ''
end

-- touch(revision, us): what people wish for has changed; the mirrors on disk keep the newest revision.
local function touch(revision, us)
  local last = tonumber(redis.call('GET', revision) or 0)
  redis.call('SET', revision, string.format('%.0f', math.max(last + 1, us)))
end

-- my_tick(key, id, now): the tick document, if its lease is tick `id`'s still, and Redis the one it began on.
local function my_tick(key, id, now)
  local tick = load(key)
  if tick and tick.id == id and tick.deadline >= now and (tick.run_id or '') == run_id() then return tick end
end

-- hold_off(tick, now, seconds): Redis may have lost data or had its clock set. Cuts off the tick that runs; nothing is
-- claimed for a while, and what was observed before does not count any more.
local function hold_off(tick, now, seconds)
  tick.id, tick.started_at, tick.deadline = '', 0, 0
  tick.run_id, tick.data_since, tick.hold_until = run_id(), now, now + seconds
end

local events_kept = 10000

-- What is told and counted of a change never keeps it from happening: a node may have spoilt its own history, by an id or a
-- number beyond which there is no larger one.
local function event(stream, fields) redis.pcall('XADD', stream, 'MAXLEN', '~', events_kept, '*', unpack(fields)) end

-- even_when_full(key, streams…): let this script write though Redis has reached maxmemory, and tell whether it has. What
-- holds, ends and sees goes on then; history gives way: each stream keeps its newest 1,000 events. Redis asks for room at
-- a script's first write alone, and not when that takes none; so the others are done wholly or, refused there, not at all.
local function even_when_full(key, ...)
  local tried = redis.pcall('SETRANGE', key, 0, '') -- writes nothing, but may be refused
  if type(tried) ~= 'table' or not string.find(tried.err or '', 'OOM', 1, true) then return false end
  redis.call('PERSIST', key) -- the first write, and one that takes no room: nothing here has a TTL but wake
  events_kept = 1000
  for _, stream in ipairs({...}) do redis.call('XTRIM', stream, 'MAXLEN', '~', events_kept) end
  return true
end

-- count(counters, field, by): at once, or with all others of its name when `write_counts` is called, if `tally` is a table.
local tally
local function count(counters, field, by)
  if not tally then return redis.pcall('HINCRBY', counters, field, by or 1) end
  local counted = tally[counters] or {}
  tally[counters], counted[field] = counted, (counted[field] or 0) + (by or 1)
end

local function write_counts()
  for counters, counted in pairs(tally) do
    for field, by in pairs(counted) do redis.pcall('HINCRBY', counters, field, by) end
  end
  tally = nil
end

-- observe(counters, name, labels, value, buckets): a Prometheus histogram kept as counters, buckets cumulative.
local function observe(counters, name, labels, value, buckets)
  for _, bound in ipairs(buckets) do
    if value <= bound then count(counters, name .. '_bucket' .. labels .. '|' .. bound) end
  end
  count(counters, name .. '_count' .. labels)
  redis.pcall('HINCRBYFLOAT', counters, name .. '_sum' .. labels, string.format('%.6f', value))
end

-- mark(wake, id): something about a worker or child has changed that the next tick has to look at; '*': about anything.
-- An older version, or an older ACL file, knows the key as a string, which says the latter. The first mark since the gate
-- took them rings: beat hears it and sends a pulse. A tick's own marks are quiet, as it still runs: its end rings.
local function ring(wake)
  redis.pcall('PUBLISH', wake, '') -- nothing depends on it, so a refusal, as by an older ACL file, is none
end

local function mark(wake, id, quietly)
  local rings = not quietly and redis.call('EXISTS', wake) == 0
  if type(redis.pcall('SADD', wake, id)) == 'table' then
    redis.pcall('SET', wake, '1', 'EX', 60)
  else
    redis.pcall('EXPIRE', wake, 60)
  end
  if rings then ring(wake) end
end

local function ask(asks, wake, id)
  redis.call('RPUSH', asks, id)
  redis.call('LTRIM', asks, -1000, -1)
  mark(wake, id)
end

-- What is told of an action, with the id of its trace if it is traced.
local function traced(lease, fields)
  if (lease.trace_id or '') ~= '' then
    fields[#fields + 1] = 'trace_id'
    fields[#fields + 1] = lease.trace_id
  end
  return fields
end

local LAST_TOKEN = 9007199254740991 -- 2^53 - 1, in the year 2255: no larger number is told from the next

-- Write a claim over a lease that is free (or nil), count and tell it; return its token.
-- keys: lease, counters, events; claimed: what is told of it; text: the new lease as JSON, but for what is decided here
local function grant(keys, lease, claimed, text, us, ttl)
  local last = lease and math.max(tonumber(lease.token), tonumber(lease.fence or 0)) or 0
  if not (last < LAST_TOKEN) then error('there is no token after ' .. last) end
  local token = string.format('%.0f', math.max(last + 1, us))
  local at = seconds(us)
  local decided = string.format(',"token":"%s","stage":"queued","claimed_at":%.3f,"deadline":%.3f}', token, at, at + ttl)
  redis.call('SET', keys[1], string.sub(text, 1, -2) .. decided)
  count(keys[2], 'supervisor_actions_enqueued_total|' .. (claimed.counted_as or claimed.worker_id) .. '|' .. claimed.action)
  event(keys[3], traced(claimed, {'event', 'action.claimed', 'worker_id', claimed.worker_id, 'action', claimed.action,
    'action_id', claimed.action_id, 'token', token, 'reason', claimed.reason}))
  return token
end

-- Count an ended action, tell it, and free its lease. Used by end.lua, reap.lua and for cancelling.
-- keys: lease, counters, events, asks, wake; killed: the action's pool process died of it
local function free(keys, lease, now, outcome, detail, killed)
  local labels = '|' .. (lease.counted_as or lease.worker_id) .. '|' .. lease.action
  local began = lease.begun_at or lease.claimed_at
  local duration = math.max(0, now - began)
  lease.stage = 'free'
  lease.outcome = outcome
  lease.detail = detail
  lease.ended_at = now
  lease.deadline = math.min(lease.deadline, now)
  if outcome == 'success' then lease.failures = 0
  elseif outcome ~= 'cancelled' and outcome ~= 'discarded' then lease.failures = (lease.failures or 0) + 1 end
  if killed then lease.kills = (lease.kills or 0) + 1
  elseif outcome == 'success' or outcome == 'error' or outcome == 'timeout' then lease.kills = 0 end
  save(keys[1], lease)
  count(keys[2], 'supervisor_actions_completed_total' .. labels .. '|' .. outcome)
  if lease.begun_at then
    observe(keys[2], 'supervisor_action_duration_seconds', labels, duration, {0.1, 0.5, 1, 5, 10, 30, 60})
  end
  event(keys[3], traced(lease, {'event', 'action.ended', 'worker_id', lease.worker_id, 'action', lease.action,
    'action_id', lease.action_id, 'token', lease.token, 'outcome', outcome, 'detail', detail,
    'duration', string.format('%.3f', duration)}))
  ask(keys[4], keys[5], lease.worker_id)
  return duration
end

-- Free a queued action; ask a running one to give up: its executor sees `cancel` and tells its process. Once asked stays.
-- keys: lease, counters, events, asks, wake. Returns 'cancelled' or 'asked'.
local function ask_to_cancel(keys, lease, now, reason)
  if lease.stage == 'queued' then
    free(keys, lease, now, 'cancelled', reason)
    return 'cancelled'
  end
  if (lease.cancel or '') == '' then
    lease.cancel = reason
    save(keys[1], lease)
    event(keys[3], traced(lease, {'event', 'action.cancel_asked', 'worker_id', lease.worker_id, 'action', lease.action,
      'action_id', lease.action_id, 'token', lease.token, 'reason', reason}))
  end
  return 'asked'
end
