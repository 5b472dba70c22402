-- A part of the history of a topic.
-- Behind the keys and arguments of `epoch`: ARGV[5] an epoch, ARGV[6] an offset in it ('' for none), ARGV[7] '1' to go
-- from the newest to the oldest, ARGV[8] how many publications at most, ARGV[9] after how many bytes it is enough.
-- Answers epoch and offset of the topic; where that epoch has ended, or is now (-1: it is unknown); up to where everything
-- is trimmed; then the envelopes.
local MOST = 100
local epoch, offset, chain, era, change = position()
if change == 'new' then
  redis.call('DEL', KEYS[3])
end
if change then
  keep(epoch, offset, chain, era)
end
local first = trim(offset) or offset + 1
used(first > offset)
local ended = -1
if ARGV[5] == epoch then
  ended = offset
else
  for former, last in string.gmatch(chain, '(%S+) (%d+)') do
    if former == ARGV[5] then
      ended = tonumber(last)
    end
  end
end
local answer = {epoch, offset, ended, first - 1}
local since, left, size = tonumber(ARGV[6]), tonumber(ARGV[8]), 0
local command, begin, finish = 'XRANGE', number((since or 0) + 1), '+'
if ARGV[7] == '1' then
  command, begin, finish = 'XREVRANGE', since and '(' .. number(since) .. '-0' or '+', '-'
  if since == 0 then
    left = 0  -- there is nothing before it, which Redis takes for a mistake
  end
end
while left > 0 and size < tonumber(ARGV[9]) do
  local part = redis.call(command, KEYS[3], begin, finish, 'COUNT', math.min(left, MOST))
  for _, entry in ipairs(part) do
    if size < tonumber(ARGV[9]) then
      size = size + #entry[2][2]
      answer[#answer + 1] = entry[2][2]
    end
  end
  if #part < math.min(left, MOST) then
    break
  end
  left = left - #part
  begin = '(' .. part[#part][1]
end
return answer
