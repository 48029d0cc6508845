-- Remove every trace of a worker but its events, unless its desired has changed since that was decided.
-- KEYS  1 generations (hash)  2 index (hash)  3 counters (hash)  4 events (stream), then its documents
-- ARGV  1 now ('' = Redis')  2 worker id  3 generation that was decided on, then its fields of counters
-- Returns 1, or 0 when it has come back meanwhile
if tonumber(redis.call('HGET', KEYS[1], ARGV[2]) or 0) ~= tonumber(ARGV[3]) then return 0 end
for i = 5, #KEYS do redis.call('DEL', KEYS[i]) end
for i = 4, #ARGV do redis.call('HDEL', KEYS[3], ARGV[i]) end
redis.call('HDEL', KEYS[1], ARGV[2])
redis.call('HDEL', KEYS[2], ARGV[2])
event(KEYS[4], {'event', 'worker.forgotten', 'worker_id', ARGV[2]})
return 1
