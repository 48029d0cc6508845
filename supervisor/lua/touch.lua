-- What people wish for changes in this transaction: a new revision, which the next tick looks at.
-- KEYS  1 revision  2 the control loop's marks (optional)
-- ARGV  1 now ('' = Redis')  2 of which worker or child it is wished, '*' for any
touch(KEYS[1], now_us(ARGV[1]))
if KEYS[2] then mark(KEYS[2], ARGV[2]) end
return 1
