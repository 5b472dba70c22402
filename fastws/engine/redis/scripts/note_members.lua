-- Connections of one process have come to a topic, or have left it; others are told.
-- KEYS[1] members of the process in the topic, KEYS[2] how many members processes have there, KEYS[3] users there,
-- KEYS[4] topics of the process, KEYS[5] is there if the process may not write any more; ARGV[1] the process, ARGV[2] the
-- topic, ARGV[3] how others are told, ARGV[4] in which channel, ARGV[5] how many messages, which follow, and behind them
-- connections, each with its member, or with '' if it has left.
-- Answers whether it was done. Where memory is short, those who left are taken away all the same: that comes first.
if redis.call('EXISTS', KEYS[5]) == 1 then
  return 0
end
local first = 6 + tonumber(ARGV[5])
for at = first, #ARGV, 2 do
  local conn, member = ARGV[at], ARGV[at + 1]
  local known = insist('HGET', KEYS[1], conn)
  if known ~= member then
    if member == '' then
      redis.call('HDEL', KEYS[1], conn)
    else
      redis.call('HSET', KEYS[1], conn, member)
      count_user(KEYS[3], member, 1)
    end
    if known then
      count_user(KEYS[3], known, -1)
    end
  end
end
count_members(KEYS[1], KEYS[2], KEYS[4], ARGV[1], ARGV[2])
for at = 6, first - 1 do
  redis.call(ARGV[3], ARGV[4], ARGV[at])
end
return 1
