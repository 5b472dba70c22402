-- A part of the history of a topic.
-- Behind the keys and arguments of `epoch`: ARGV[5] an epoch, ARGV[6] an offset in it ('' for none), ARGV[7] '1' to go
-- from the newest to the oldest, ARGV[8] how many publications at most, ARGV[9] after how many bytes it is enough.
-- Answers epoch and offset of the topic; where that epoch has ended, or is now (-1: it is unknown); up to where everything
-- is trimmed; then the envelopes.
local MOST = 100
local GROWTH = 4
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
-- How large they are shows when they are read, so it begins with one: what is read and not told is read in vain.
local enough, some, told = tonumber(ARGV[9]), 1, 0
while left > 0 and size < enough do
  local count = math.min(left, some)
  local part = redis.call(command, KEYS[3], begin, finish, 'COUNT', count)
  for _, entry in ipairs(part) do
    if size < enough then
      size = size + #entry[2][2]
      told = told + 1
      answer[4 + told] = entry[2][2]
    end
  end
  if #part < count then
    break
  end
  left = left - #part
  begin = '(' .. part[#part][1]
  some = math.max(1, math.min(some * GROWTH, MOST, math.floor((enough - size) * told / size)))
end
return answer
