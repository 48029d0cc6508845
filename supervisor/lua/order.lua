-- An operator's standing order for a scope, or its end. What a tick has decided before is refused: the circuit's generation.
-- KEYS  1 orders (hash)  2 circuit  3 events (stream)  4 revision  5 wake
-- ARGV  1 now ('' = Redis')  2 the order's name  3 Order as JSON without its times ('' = it is lifted)
--       4 s that it lasts (0 = until it is lifted), then names and values of the event
-- Returns 1, or 0 when there was nothing to lift. Orders that are over go with the next one.
local us = now_us(ARGV[1])
local now = seconds(us)
local stored = redis.call('HGETALL', KEYS[1])
for i = 2, #stored, 2 do
  local ends_at = cjson.decode(stored[i]).ends_at or 0
  if ends_at ~= 0 and ends_at <= now then redis.call('HDEL', KEYS[1], stored[i - 1]) end
end
if ARGV[3] == '' then
  if redis.call('HDEL', KEYS[1], ARGV[2]) == 0 then return 0 end
else
  local order = cjson.decode(ARGV[3])
  order.at = now
  order.ends_at = tonumber(ARGV[4]) > 0 and now + tonumber(ARGV[4]) or 0
  redis.call('HSET', KEYS[1], ARGV[2], cjson.encode(order))
end
local circuit = load(KEYS[2]) or {schema = 1}
circuit.generation = (circuit.generation or 0) + 1
save(KEYS[2], circuit)
touch(KEYS[4], us)
event(KEYS[3], {unpack(ARGV, 5)})
mark(KEYS[5], '*')
return 1
