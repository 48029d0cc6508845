-- Remove every trace of a worker but its events, unless its desired has changed since that was decided.
-- KEYS  1 generations (hash)  2 index (hash)  3 counters (hash)  4 events (stream)  5 revision  6 tick, then its documents
-- ARGV  1 now ('' = Redis')  2 worker id  3 generation that was decided on  4 tick id ('' = nobody's), then its fields of
--       counters
-- Returns 1, or 0 when it has come back meanwhile or the tick lease is not that tick's any more
local us = now_us(ARGV[1])
if ARGV[4] ~= '' and not my_tick(KEYS[6], ARGV[4], seconds(us)) then return 0 end
if tonumber(redis.call('HGET', KEYS[1], ARGV[2]) or 0) ~= tonumber(ARGV[3]) then return 0 end
event(KEYS[4], {'event', 'worker.forgotten', 'worker_id', ARGV[2]})
touch(KEYS[5], us)
for i = 7, #KEYS do redis.call('DEL', KEYS[i]) end
for i = 5, #ARGV do redis.call('HDEL', KEYS[3], ARGV[i]) end
redis.call('HDEL', KEYS[1], ARGV[2])
redis.call('HDEL', KEYS[2], ARGV[2])
return 1
