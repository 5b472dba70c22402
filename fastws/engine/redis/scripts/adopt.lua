-- A node is in no list, and something of it is left: it is dead, and the caller buries it, unless it has come back, or
-- somebody else is at it. Answers 1 if that is the caller.
-- KEYS[1] beats, KEYS[2] burials under way, KEYS[3] the dead, with the time of Redis in seconds. ARGV[1] the node, ARGV[2]
-- what is said of the burial.
if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 1 or redis.call('HEXISTS', KEYS[2], ARGV[1]) == 1 then
  return 0
end
redis.call('ZADD', KEYS[3], redis.call('TIME')[1], ARGV[1])
redis.call('HSET', KEYS[2], ARGV[1], ARGV[2])
return 1
