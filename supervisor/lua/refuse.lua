-- Count messages that an executor has refused. A repeated call counts once.
-- KEYS  1 counters  2 the number of the last batch that this executor has counted (string, for an hour)
-- ARGV  1 now (unused)  2 number of this batch  then per reason: name, number
-- Returns 1, or 0 when this batch was counted before.
if tonumber(redis.call('GET', KEYS[2]) or 0) >= tonumber(ARGV[2]) then return 0 end
even_when_full(KEYS[2])
redis.call('SET', KEYS[2], ARGV[2], 'EX', 3600)
for i = 3, #ARGV, 2 do count(KEYS[1], 'supervisor_messages_refused_total|' .. ARGV[i], tonumber(ARGV[i + 1])) end
return 1
