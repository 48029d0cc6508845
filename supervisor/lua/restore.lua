-- Bring back what people wished for, from a mirror on disk, into a Redis that holds less than that, and hold off.
-- KEYS  1 supervisors (set)  2 settings  3 index (hash)  4 generations (hash)  5 revision  6 tick  7 counters  8 events  9 wake,
--       10 circuit  11 orders (hash), then documents
-- ARGV  1 now ('' = Redis')  2 supervisor  3 the revision that the store was seen at ('0' = none)  4 hold-off in s
--       5 JSON {revision (text), settings (text), places {id: place}, generations {id: number}, forced (an operator's word
--       about the circuit, or not there), orders {name: text}}, then the text of each document ('' = it goes)
-- Returns 1, or 0 when the store has moved on since it was looked at: nothing is changed then
local now = seconds(now_us(ARGV[1]))
if (redis.call('GET', KEYS[5]) or '0') ~= ARGV[3] then return 0 end
local wishes = cjson.decode(ARGV[5])
event(KEYS[8], {'event', 'store.restored', 'revision', wishes.revision, 'was', ARGV[3]})
count(KEYS[7], 'supervisor_store_restores_total')
redis.call('SADD', KEYS[1], ARGV[2])
redis.call('SET', KEYS[2], wishes.settings)
redis.call('SET', KEYS[5], wishes.revision)

local before = {}
for id in pairs(wishes.places) do before[id] = tonumber(redis.call('HGET', KEYS[4], id) or 0) end
redis.call('DEL', KEYS[3], KEYS[4])
for id, place in pairs(wishes.places) do
  redis.call('HSET', KEYS[3], id, place)
  redis.call('HSET', KEYS[4], id, string.format('%.0f', math.max(before[id], wishes.generations[id] or 0)))
end
for i = 12, #KEYS do
  if ARGV[i - 6] == '' then redis.call('DEL', KEYS[i]) else redis.call('SET', KEYS[i], ARGV[i - 6]) end
end
local circuit = load(KEYS[10]) or {schema = 1}
if wishes.forced or circuit.forced then
  circuit.forced = wishes.forced
  circuit.generation = (circuit.generation or 0) + 1
  save(KEYS[10], circuit)
end

redis.call('DEL', KEYS[11])
for name, text in pairs(wishes.orders) do redis.call('HSET', KEYS[11], name, text) end

local tick = load(KEYS[6]) or {schema = 1}
hold_off(tick, now, tonumber(ARGV[4]))
save(KEYS[6], tick)
mark(KEYS[9], '*')
return 1
