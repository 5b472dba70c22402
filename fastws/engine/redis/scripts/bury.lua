-- Of all who see that a node is dead, one buries it: who comes first. Answers 1 if that is the caller.
-- KEYS[1] beats, KEYS[2] burials under way, KEYS[3] the dead, with the time of Redis in seconds.
-- ARGV[1] the dead node, ARGV[2] what was seen of it last: its beat, or what its reaper has said; ARGV[3] what is said of
-- the burial now, ARGV[4] for how many seconds the dead are remembered.
if redis.call('HGET', KEYS[1], ARGV[1]) == ARGV[2] then
  local now_s = tonumber(redis.call('TIME')[1])
  redis.call('HDEL', KEYS[1], ARGV[1])
  redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', now_s - tonumber(ARGV[4]))
  redis.call('ZADD', KEYS[3], now_s, ARGV[1])
elseif redis.call('HEXISTS', KEYS[1], ARGV[1]) == 1 or redis.call('HGET', KEYS[2], ARGV[1]) ~= ARGV[2] then
  return 0
end
redis.call('HSET', KEYS[2], ARGV[1], ARGV[3])
return 1
