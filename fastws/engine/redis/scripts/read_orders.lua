-- A part of the log of orders. KEYS[1] the log; ARGV[1] behind which entry, ARGV[2] how many at most.
-- Answers the time of Redis in milliseconds, how many orders there are, when the oldest of them was given, and those that
-- were asked for.
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local first = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)[1]
local first_ms = first and tonumber(string.match(first[1], '^%d+')) or 0
return {now_ms, redis.call('XLEN', KEYS[1]), first_ms, redis.call('XRANGE', KEYS[1], '(' .. ARGV[1], '+', 'COUNT', ARGV[2])}
