-- Write what a collector saw of a place, with its heartbeat. What is not (any more) at that place is left out.
-- An observation of the future is rejected, and one that is older than what is stored, unless that is of the future
-- itself: then Redis' clock was set back. What is rejected is counted, and the last of a place kept aside.
-- KEYS  1 index (hash)  2 collector (string)  3 wake (set)  4 counters (hash)  5 rejected (string)  6 events (stream),
--       then the observed document of each item
-- ARGV  1 now ('' = Redis')  2 CollectorDocument  3 place  4 s by which a time may be ahead, then per item: id,
--       collected_at, document, 1 if it is news to the tick, and of a reading that the collector did not believe, for
--       which the document stands: reason, text ('' and '' otherwise)
-- Returns the number of documents written, and 1 if Redis is full: then the place's history has given way to them
local full = even_when_full(KEYS[2], KEYS[6])
local now = seconds(now_us(ARGV[1]))
local latest = now + tonumber(ARGV[4])

local function reject(id, reason, text)
  count(KEYS[4], 'supervisor_observations_rejected_total|' .. reason)
  save(KEYS[5], {schema = 1, at = now, id = id, reason = reason, text = text})
end

-- stored_at(key): when the look began that is stored there, 0 for none that counts.
local function stored_at(key)
  local readable, stored = pcall(load, key)
  local at = readable and type(stored) == 'table' and tonumber(stored.collected_at) or 0
  return at <= latest and at or 0
end

local written = 0
for i = 7, #KEYS do
  local at = 5 + (i - 7) * 6
  local id, collected_at, document, is_news, reason, text = unpack(ARGV, at, at + 5)
  if redis.call('HGET', KEYS[1], id) == ARGV[3] then
    if reason ~= '' then reject(id, reason, text) end
    if tonumber(collected_at) > latest then
      reject(id, 'future', document)
    elseif tonumber(collected_at) < stored_at(KEYS[i]) then
      reject(id, 'older', document)
    else
      redis.call('SET', KEYS[i], document)
      written = written + 1
      if is_news == '1' then mark(KEYS[3], id) end
    end
  end
end
redis.call('SET', KEYS[2], ARGV[2])
return {written, full and 1 or 0}
