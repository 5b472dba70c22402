-- A new process is a node: it gets an id that nobody had before, and is alive from now on.
-- KEYS[1] the number of the last one, KEYS[2] the beats of all, KEYS[3] what they say of themselves.
-- ARGV[1] its name, ARGV[2] a random word, ARGV[3] what it says of itself, ARGV[4] the highest number that it knows of:
-- numbers go on counting where Redis has forgotten them.
local number = redis.call('INCR', KEYS[1])
if number <= tonumber(ARGV[4]) then
  number = tonumber(ARGV[4]) + 1
  redis.call('SET', KEYS[1], string.format('%.0f', number))
end
local node = ARGV[1] .. '.' .. string.format('%.0f', number) .. '.' .. ARGV[2]
redis.call('HSET', KEYS[2], node, 1)
redis.call('HSET', KEYS[3], node, ARGV[3])
return node
