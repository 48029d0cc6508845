-- An operator's word about a circuit: forced open, forced closed, or reset, which also forgets the attempts so far.
-- What a tick has decided under the circuit as it was is refused.
-- KEYS  1 circuit  2 events (stream)  3 revision  4 wake
-- ARGV  1 now ('' = Redis')  2 'open', 'closed' or '' (reset)  3 who  4 why
-- Returns the circuit's generation
local us = now_us(ARGV[1])
local circuit = load(KEYS[1]) or {schema = 1}
circuit.generation = (circuit.generation or 0) + 1
if ARGV[2] == '' then
  circuit.forced, circuit.children = nil, nil
else
  circuit.forced = {state = ARGV[2], by = ARGV[3], at = seconds(us), reason = ARGV[4]}
end
save(KEYS[1], circuit)
touch(KEYS[3], us)
event(KEYS[2], {'event', 'operator.circuit', 'forced', ARGV[2], 'by', ARGV[3], 'reason', ARGV[4]})
mark(KEYS[4], '*')
return circuit.generation
