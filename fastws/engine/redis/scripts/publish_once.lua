-- Tell a publication of a topic without history to everybody who hears it, unless its key is known.
-- KEYS[1] where the key is remembered; ARGV[1] how it is published, ARGV[2] in which channel, ARGV[3] for how many
-- seconds the key is remembered, ARGV[4] the envelope. Answers whether it was known.
if not redis.call('SET', KEYS[1], '', 'NX', 'EX', ARGV[3]) then
  return 1
end
redis.call(ARGV[1], ARGV[2], ARGV[4])
return 0
