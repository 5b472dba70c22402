-- Who is in a topic, but for the members of one process.
-- KEYS[1] how many members processes have there, KEYS[2] users there; ARGV[1] the process, or '', ARGV[2] how many are
-- named at most, ARGV[3] and ARGV[4] what stands before and behind a process in the name of its members.
-- Answers how many connections there are, how many users of all processes, and some connections with their members.
local left = tonumber(ARGV[2])
local counts = redis.call('HGETALL', KEYS[1])
local answer = {0, redis.call('HLEN', KEYS[2])}
for at = 1, #counts, 2 do
  if counts[at] ~= ARGV[1] then
    answer[1] = answer[1] + (tonumber(counts[at + 1]) or 0)
    if left > 0 then
      local found = redis.pcall('HRANDFIELD', ARGV[3] .. counts[at] .. ARGV[4], left, 'WITHVALUES')
      for _, word in ipairs(found) do
        answer[#answer + 1] = word
      end
      left = left - #found / 2
    end
  end
end
return answer
