-- Where topics with history are. Those that are asked for are heard: they are not forgotten while they are.
-- KEYS[1] the era of the partition, then of each topic what is known of it, and its history. Answers of each its epoch,
-- empty if it belongs to another era, and so is over, and its offset; empty and -1 for one of which nothing is known.
local era = redis.call('HGET', KEYS[1], 'number') or '0'
local answer = {}
for at = 2, #KEYS, 2 do
  local known = redis.call('HMGET', KEYS[at], 'epoch', 'offset', 'era', 'idle')
  if known[1] then
    local left_ms, idle_ms = redis.call('PTTL', KEYS[at]), tonumber(known[4])
    if left_ms >= 0 and left_ms < idle_ms / 2 then
      redis.call('PEXPIRE', KEYS[at], idle_ms)
      redis.call('PEXPIRE', KEYS[at + 1], idle_ms)
    end
    answer[at - 1] = known[3] == era and known[1] or ''
    answer[at] = tonumber(known[2])
  else
    answer[at - 1] = ''
    answer[at] = -1
  end
end
return answer
