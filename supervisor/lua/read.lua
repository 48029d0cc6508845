-- Read several keys at one moment. A transaction would do, but a full Redis refuses even those that only read.
-- KEYS  strings, then hashes
-- ARGV  1 now, which is not asked for  2 the number of strings
-- Returns the value of each: a text, '' for none; a hash as its names and values in turn
local values = {}
for i, key in ipairs(KEYS) do
  values[i] = i <= tonumber(ARGV[2]) and (redis.call('GET', key) or '') or redis.call('HGETALL', key)
end
return values
