-- Where topics with history are. Those that are asked for are heard: they are not forgotten while they are.
-- KEYS[1] the era of the partition, then of each topic what is known of it, and its history. Answers of each its epoch,
-- empty if it belongs to another era, and so is over, and its offset; empty and -1 for one of which nothing is known,
-- empty and -2 where something else is kept in its place: the others are told all the same.
local MOST = 2 ^ 53

local function whole(value)
  local number = tonumber(value or nil)
  return number and number >= 0 and number < MOST and number == math.floor(number) and number
end

local era = redis.call('HGET', KEYS[1], 'number') or '0'
local answer = {}
for at = 2, #KEYS, 2 do
  local known = redis.pcall('HMGET', KEYS[at], 'epoch', 'offset', 'era', 'idle')
  local offset, idle_ms = whole(known[2]), whole(known[4])
  answer[at - 1] = ''
  if known.err or (known[1] and not (offset and idle_ms)) then
    answer[at] = -2
  elseif known[1] then
    local left_ms = redis.call('PTTL', KEYS[at])
    if left_ms >= 0 and left_ms < idle_ms / 2 then
      redis.call('PEXPIRE', KEYS[at], string.format('%.0f', idle_ms))
      redis.call('PEXPIRE', KEYS[at + 1], string.format('%.0f', idle_ms))
    end
    answer[at - 1] = known[3] == era and known[1] or ''
    answer[at] = offset
  else
    answer[at] = -1
  end
end
return answer
