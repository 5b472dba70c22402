-- What is kept of those who are present: for each process and topic a hash connection -> member, a member being an array
-- of MessagePack: whether it was announced, user, device, what is public in JSON. For each topic how many connections
-- each process has, and each user; for each process its topics of a partition.

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
  if user ~= '' and redis.call('HINCRBY', users, user, by) <= 0 then
    redis.call('HDEL', users, user)
  end
end

-- After the members of a process in a topic have changed: how many they are, and whether there are any.
local function count_members(members, nodes, topics, node, topic)
  local count = redis.call('HLEN', members)
  if count > 0 then
    redis.call('HSET', nodes, node, count)
    redis.call('SADD', topics, topic)
  else
    redis.call('HDEL', nodes, node)
    redis.call('SREM', topics, topic)
  end
  return count
end
