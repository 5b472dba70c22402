-- Whether users of one partition are here: for each the time at which it was here last, if that is known, and at most
-- ARGV[1] of its sessions, about.
-- KEYS: for each user its sessions, and when it was here last.
local answer = {}
for i = 1, #KEYS, 2 do
  local said = {redis.call('GET', KEYS[i + 1]) or ''}
  if redis.call('HLEN', KEYS[i]) <= tonumber(ARGV[1]) then
    for _, held in ipairs(redis.call('HVALS', KEYS[i])) do
      said[#said + 1] = held
    end
  else
    local page = redis.call('HSCAN', KEYS[i], 0, 'COUNT', ARGV[1])[2]
    for j = 2, #page, 2 do
      said[#said + 1] = page[j]
    end
  end
  answer[#answer + 1] = said
end
return answer
