-- Forget connections of one node, all of whose users are in one partition. Answers for each of them whether this one has
-- done it: who has may say that it has ended.
-- KEYS[1] the node's connections in this partition; for each connection of a user with a name the sessions of the user,
-- and when the user was here last; the last one see ARGV[3]. ARGV[1] the node, ARGV[2] for how many seconds that is
-- remembered; the connections, the anonymous ones last. ARGV[3] nothing, or a number: then only what belongs to this node
-- is forgotten; and if it is more than 0, the last key is where who was forgotten is kept, for so many seconds.
local kept_s = tonumber(ARGV[3]) or 0
local last = kept_s > 0 and #KEYS - 1 or #KEYS
local done = {}
for i = 4, #ARGV do
  local at = 2 * i - 6
  done[i - 3] = redis.call('HDEL', KEYS[1], ARGV[i])
  if kept_s > 0 and done[i - 3] == 1 then
    redis.pcall('SADD', KEYS[#KEYS], ARGV[i]) -- not where memory is short
  end
  if at < last then
    local held = redis.pcall('HGET', KEYS[at], ARGV[i]) -- what is no hash is not in the way of the others
    if type(held) == 'string' and (ARGV[3] == '' or string.match(held, '^%d+ (%S+) ') == ARGV[1]) then
      redis.call('HDEL', KEYS[at], ARGV[i])
      if redis.call('EXISTS', KEYS[at]) == 0 then
        local time = redis.call('TIME')
        local now_ms = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
        redis.pcall('SET', KEYS[at + 1], now_ms, 'EX', ARGV[2])
      end
    end
  end
end
if kept_s > 0 then
  redis.call('EXPIRE', KEYS[#KEYS], kept_s)
end
return done
