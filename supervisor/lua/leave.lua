-- A worker leaves its place: it goes to another one, or it is forgotten, which leaves nothing of it but its events. Not if
-- its desired has changed since that was decided, an action of it is in progress, or Redis may have lost one (hold-off).
-- KEYS  1 generations (hash)  2 index (hash)  3 revision  4 tick  5 events (stream) of where it goes, else of where it was
--       6 counters (hash), then its documents: identity, desired, override, control, observed, status, lease.
--       Where it goes, if anywhere: 14 counters, then its documents in the same order
-- ARGV  1 now ('' = Redis')  2 worker id  3 generation that was decided on  4 tick id ('' = nobody's)  5 the place it leaves
--       6 the place it goes to ('' = none), 7 its identity and 8 its desired there, then its fields of counters
-- Returns 1, or 0 when it stays: its desired has changed, it acts, or the tick lease is not that tick's any more
even_when_full(KEYS[4], KEYS[5])
local us = now_us(ARGV[1])
local now = seconds(us)
local id, to = ARGV[2], ARGV[6]
local KINDS, OBSERVED, LEASE = 7, 5, 7

local function document(kind) return KEYS[6 + kind] end
local function there(kind) return KEYS[14 + kind] end

if ARGV[4] ~= '' then
  local tick = my_tick(KEYS[4], ARGV[4], now)
  if not tick or (tick.hold_until or 0) > now then return 0 end
end
if tonumber(redis.call('HGET', KEYS[1], id) or 0) ~= tonumber(ARGV[3]) then return 0 end
local readable, lease = pcall(load, document(LEASE)) -- its node wrote it, and may be hostile
if readable and type(lease) == 'table' and lease.stage ~= 'free' then return 0 end
if not readable or type(lease) ~= 'table' then redis.call('DEL', document(LEASE)) end

-- Everything but what was observed goes along: the operator's word, what has failed, and the last token.
local function move()
  for kind = 1, KINDS do
    redis.call('DEL', there(kind))
    if redis.call('EXISTS', document(kind)) == 1 then redis.call('RENAME', document(kind), there(kind)) end
  end
  redis.call('SET', there(1), ARGV[7])
  redis.call('SET', there(2), ARGV[8])
  redis.call('DEL', there(OBSERVED))
  for i = 9, #ARGV do
    local value = redis.call('HGET', KEYS[6], ARGV[i])
    if value then redis.pcall('HINCRBYFLOAT', KEYS[14], ARGV[i], value) end
  end
  redis.call('HSET', KEYS[2], id, to)
  redis.call('HINCRBY', KEYS[1], id, 1)
  event(KEYS[5], {'event', 'worker.moved', 'worker_id', id, 'from', ARGV[5], 'to', to})
end

local function forget()
  for kind = 1, KINDS do redis.call('DEL', document(kind)) end
  redis.call('HDEL', KEYS[2], id)
  redis.call('HDEL', KEYS[1], id)
  event(KEYS[5], {'event', 'worker.forgotten', 'worker_id', id})
end

if to == '' then forget() else move() end
for i = 9, #ARGV do redis.call('HDEL', KEYS[6], ARGV[i]) end
touch(KEYS[3], us)
return 1
