-- A process is dead: some of its members in a partition have left; others are told.
-- KEYS[1] topics of the process, KEYS[2] what keeps it from writing, should it live; ARGV[1] the process, ARGV[2] how many
-- members at most, ARGV[3] for how many seconds it is kept from writing, ARGV[4] how others are told, ARGV[5] how a
-- message begins, ARGV[6] how many are named in one; then, each to be followed by a topic: ARGV[7] the name of the
-- process' members, ARGV[8] of how many members processes have, ARGV[9] of users, ARGV[10] of the channel.
-- Answers whether nothing of it is left, and how much of it was damaged.
if ARGV[3] ~= '0' then
  redis.pcall('SET', KEYS[2], '', 'EX', ARGV[3]) -- not where memory is short
end
local left = tonumber(ARGV[2])
while left > 0 do
  local topic = insist('SRANDMEMBER', KEYS[1])
  if not topic then
    return {1, damaged}
  end
  local members, nodes, users = ARGV[7] .. topic, ARGV[8] .. topic, ARGV[9] .. topic
  local found = insist('HRANDFIELD', members, left, 'WITHVALUES')
  local changes = {}
  for at = 1, #found, 2 do
    local member = read_member(found[at + 1])
    redis.call('HDEL', members, found[at])
    count_user(users, found[at + 1], -1)
    if member[1] then
      changes[#changes + 1] = {found[at], member[2], member[4], false}
    end
  end
  count_members(members, nodes, KEYS[1], ARGV[1], topic)
  if #changes > tonumber(ARGV[6]) then
    redis.call(ARGV[4], ARGV[10] .. topic, ARGV[5] .. cmsgpack.pack({ARGV[1], 0, #changes, {}}))
  elseif #changes > 0 then
    redis.call(ARGV[4], ARGV[10] .. topic, ARGV[5] .. cmsgpack.pack({ARGV[1], 0, 0, changes}))
  end
  left = left - #found / 2 - 1
end
return {0, damaged}
