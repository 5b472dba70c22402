-- Tell a publication of a topic without history to everybody who hears it, unless its key is known.
-- KEYS[1] where the key is remembered; ARGV[1] how it is published, ARGV[2] in which channel, ARGV[3] for how many
-- seconds the key is remembered, ARGV[4] the envelope. Answers how many processes heard it; -1 if the key
-- was known.
if not redis.call('SET', KEYS[1], '', 'NX', 'EX', ARGV[3]) then
  return -1
end
local told = redis.pcall(ARGV[1], ARGV[2], ARGV[4])
if type(told) == 'table' and told.err then
  redis.call('DEL', KEYS[1])  -- it was not published, and may be yet
end
return told
