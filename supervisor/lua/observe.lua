-- Write what a collector saw of a place, with its heartbeat. What is not (any more) at that place is left out.
-- KEYS  1 index (hash)  2 collector (string)  3 wake (string), then the observed document of each item
-- ARGV  1 now ('' = Redis')  2 CollectorDocument  3 1 to wake the tick, 4 place, then per item: id, document
-- Returns the number of documents written
local written = 0
for i = 4, #KEYS do
  local at = 5 + (i - 4) * 2
  if redis.call('HGET', KEYS[1], ARGV[at]) == ARGV[4] then
    redis.call('SET', KEYS[i], ARGV[at + 1])
    written = written + 1
  end
end
redis.call('SET', KEYS[2], ARGV[2])
if ARGV[3] == '1' then redis.call('SET', KEYS[3], '1', 'EX', 60) end
return written
