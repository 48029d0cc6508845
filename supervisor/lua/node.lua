-- A node's heartbeat, which is also its claim to its name: one host, in one boot, at a time.
-- KEYS  1 node
-- ARGV  1 now ('' = Redis')  2 NodeDocument as JSON without `at`  3 seconds without a heartbeat after which a name is free
-- Returns 'ok' or the host that has the name
even_when_full(KEYS[1])
local now = seconds(now_us(ARGV[1]))
local mine = cjson.decode(ARGV[2])
local theirs = load(KEYS[1])
if theirs and math.abs(now - theirs.at) < tonumber(ARGV[3]) and not theirs.left
  and (theirs.host ~= mine.host or theirs.boot_id ~= mine.boot_id) then
  return theirs.host
end
mine.at = now
save(KEYS[1], mine)
return 'ok'
