-- Claim a no-op that proves a node's way from claim to end. It has a lease of its own, so it is in no worker's way.
-- KEYS  1 lease  2 counters  3 events  4 tick
-- ARGV  1 now ('' = Redis')  2 s for which it may wait in the queue  3 lease as JSON
-- Returns {'claimed', token}; {'in_progress', action_id} while another check of that node is; {'refused', why}
local full = even_when_full(KEYS[1], KEYS[3])
if full then return {'refused', 'full'} end
local us = now_us(ARGV[1])
local now = seconds(us)
local tick = load(KEYS[4])
if tick and (tick.hold_until or 0) > now then return {'refused', 'hold_off'} end

local function claim()
  local lease = load(KEYS[1])
  if lease and lease.stage ~= 'free' and lease.deadline >= now then return {'in_progress', lease.action_id} end
  return {'claimed', grant(KEYS, lease, cjson.decode(ARGV[3]), ARGV[3], us, tonumber(ARGV[2]))}
end

local done, answer = pcall(claim) -- the node wrote the lease, and may be hostile
return done and answer or {'refused', 'unreadable'}
