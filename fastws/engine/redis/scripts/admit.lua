-- Give a connection a place among those of its user, if there is one.
-- KEYS[1] the sessions of the user, KEYS[2] the connections of the node in this partition.
-- ARGV[1] the connection, ARGV[2] its node, ARGV[3] its device, ARGV[4] its user, ARGV[5] how many there may be, 0 = any
-- number, ARGV[6] 1 if older ones go for it, ARGV[7] 1 if those with the same device go; then nodes that are dead.
-- Answers 1, and the connections that go, each before its node; or 0, and the nodes of those who hold the places.
-- Of a user with very many connections only some are looked at; all of them count.
local MOST = 2000
local dead = {}
for i = 8, #ARGV do
  dead[ARGV[i]] = true
end
local own = field_of(KEYS[1], ARGV[1])
own = own and string.match(own, '^%d+')
local limit = tonumber(ARGV[5])
local is_by_device = ARGV[6] == '1' and ARGV[7] == '1'
local count = redis.call('HLEN', KEYS[1]) - redis.call('HEXISTS', KEYS[1], ARGV[1])
local going, others = {}, {}
if is_by_device or (limit > 0 and count >= limit) then
  local held
  if count <= MOST then
    held = redis.call('HGETALL', KEYS[1])
  else
    held = redis.call('HRANDFIELD', KEYS[1], MOST, 'WITHVALUES')
  end
  for i = 1, #held, 2 do
    local since, node, device = string.match(held[i + 1], '^(%d+) (%S+) (.*)$')
    if held[i] == ARGV[1] then
      -- it has its place
    elseif not since or dead[node] then
      redis.call('HDEL', KEYS[1], held[i])
      count = count - 1
    elseif is_by_device and device == ARGV[3] then
      going[#going + 1] = {held[i], node}
      count = count - 1
    else
      others[#others + 1] = {held[i], node, tonumber(since)}
    end
  end
end
local too_many = limit > 0 and count + 1 - limit or 0
if too_many > 0 then
  if ARGV[6] ~= '1' then
    local nodes, known = {0}, {}
    for _, other in ipairs(others) do
      if not known[other[2]] then
        known[other[2]] = true
        nodes[#nodes + 1] = other[2]
      end
    end
    return nodes
  end
  table.sort(others, function(a, b)
    return a[3] < b[3] or (a[3] == b[3] and a[1] < b[1])
  end)
  for i = 1, too_many do
    if others[i] then
      going[#going + 1] = others[i]
    end
  end
end
local answer = {1}
for _, gone in ipairs(going) do
  redis.call('HDEL', KEYS[1], gone[1])
  answer[#answer + 1] = gone[1]
  answer[#answer + 1] = gone[2]
end
if not own then
  local time = redis.call('TIME')
  own = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
end
field_of(KEYS[2], ARGV[1])
redis.call('HSET', KEYS[1], ARGV[1], own .. ' ' .. ARGV[2] .. ' ' .. ARGV[3])
redis.call('HSET', KEYS[2], ARGV[1], own .. ' ' .. #ARGV[3] .. ' ' .. ARGV[3] .. ARGV[4])
return answer
