-- A node is still alive. Answers 1; 0 if nothing is known of it; -1 if others took it for dead; then the number of the
-- newest node, the beats of all, what is said of the burials under way, and the time of Redis in milliseconds.
-- KEYS[1] the number of the last node, KEYS[2] beats, KEYS[3] what nodes say of themselves, KEYS[4] burials under way,
-- KEYS[5] the dead. ARGV[1] the node, ARGV[2] what it says of itself.
local state = 1
if redis.call('HEXISTS', KEYS[2], ARGV[1]) == 1 then
  redis.call('HINCRBY', KEYS[2], ARGV[1], 1)
  redis.call('HSET', KEYS[3], ARGV[1], ARGV[2])
else
  state = redis.call('ZSCORE', KEYS[5], ARGV[1]) and -1 or 0
end
local time = redis.call('TIME')
local newest = redis.call('GET', KEYS[1]) or '0'
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
return {state, newest, redis.call('HGETALL', KEYS[2]), redis.call('HGETALL', KEYS[4]), now_ms}
