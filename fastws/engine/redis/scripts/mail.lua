-- Put a letter into the mailbox of a node, and ring its bell. Answers its number; 0 if there is no such mailbox, because
-- its node has not come yet, or is gone.
-- KEYS[1] the mailbox. ARGV[1] how it is published, ARGV[2] the bell, ARGV[3] the letter, ARGV[4] about how many letters
-- are kept, ARGV[5] about how many bytes of them: who reads its mailbox has much less there.
local last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
if not last then
  return 0
end
local number = string.format('%.0f', tonumber(string.match(last[1], '^%d+')) + 1)
local time = redis.call('TIME')
local now_ms = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[4], number .. '-0', now_ms, ARGV[3])
if #ARGV[3] > 4096 or tonumber(number) % 64 == 0 then
  local size = redis.pcall('MEMORY', 'USAGE', KEYS[1]) -- it looks at a few of them
  if type(size) == 'number' and size > tonumber(ARGV[5]) then
    redis.call('XTRIM', KEYS[1], 'MAXLEN', math.max(1, math.floor(redis.call('XLEN', KEYS[1]) / 2)))
  end
end
redis.call(ARGV[1], ARGV[2], number .. ' ' .. ARGV[3])
return tonumber(number)
