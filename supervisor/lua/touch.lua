-- What people wish for changes in this transaction: a new revision.
-- KEYS  1 revision
-- ARGV  1 now ('' = Redis')
touch(KEYS[1], now_us(ARGV[1]))
return 1
