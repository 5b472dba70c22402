-- Forget connections of one node, all of whose users are in one partition. Answers for each of them whether this one has
-- done it.
-- KEYS[1] the node's connections in this partition; for each connection of a user with a name the sessions of the user,
-- and when the user was here last. ARGV[1] the node, ARGV[2] for how many seconds that is remembered; the connections,
-- the anonymous ones last. With ARGV[3] = 1 only what belongs to this node is forgotten.
local done = {}
for i = 4, #ARGV do
  local key = KEYS[2 * i - 6]
  done[i - 3] = redis.call('HDEL', KEYS[1], ARGV[i])
  if key then
    local held = redis.call('HGET', key, ARGV[i])
    if held and (ARGV[3] ~= '1' or string.match(held, '^%d+ (%S+) ') == ARGV[1]) then
      redis.call('HDEL', key, ARGV[i])
      if redis.call('EXISTS', key) == 0 then
        local time = redis.call('TIME')
        local now_ms = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
        redis.pcall('SET', KEYS[2 * i - 5], now_ms, 'EX', ARGV[2]) -- not where memory is short
      end
    end
  end
end
return done
