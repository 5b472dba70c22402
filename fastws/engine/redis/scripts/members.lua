-- What is kept of those who are present: for each process and topic a hash connection -> member, a member being an array
-- of MessagePack: whether it was announced, user, device, what is public in JSON. For each topic how many connections
-- each process has, and each user; for each process its topics of a partition.

-- What is damaged is nobody's: it is thrown away, rather than be in the way for ever. `damaged` counts that.
local damaged = 0
local function insist(command, key, ...)
  local answer = redis.pcall(command, key, ...)
  local reason = type(answer) == 'table' and answer.err
  if not reason then
    return answer
  end
  if string.find(reason, 'WRONGTYPE') then
    redis.call('DEL', key)
  elseif string.find(reason, 'not an integer') or string.find(reason, 'overflow') then
    redis.call('HDEL', key, (...))
  else
    error(answer)
  end
  damaged = damaged + 1
  return redis.call(command, key, ...)
end

-- Of a member that somebody else has written, nothing is taken for granted.
local function read_member(value)
  local ok, member = pcall(cmsgpack.unpack, value)
  if ok and type(member) == 'table' and type(member[2]) == 'string' then
    return member
  end
  return {false, '', '', ''}
end

local function count_user(users, value, by)
  local user = read_member(value)[2]
  if user ~= '' and insist('HINCRBY', users, user, by) <= 0 then
    insist('HDEL', users, user)
  end
end

-- After the members of a process in a topic have changed: how many they are, and whether there are any.
local function count_members(members, nodes, topics, node, topic)
  local count = insist('HLEN', members)
  if count > 0 then
    insist('HSET', nodes, node, count)
    insist('SADD', topics, topic)
  else
    insist('HDEL', nodes, node)
    insist('SREM', topics, topic)
  end
  return count
end
