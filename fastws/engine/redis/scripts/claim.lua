-- Who connects to a server says so before anything that depends on it: a server that was not there before may lack what
-- was written last, and from then on its data belongs to a new era.
-- KEYS[1] the era of the partition; ARGV[1] whom the connection is to.
if redis.call('HGET', KEYS[1], 'server') ~= ARGV[1] then
  redis.call('HSET', KEYS[1], 'server', ARGV[1])
  return redis.call('HINCRBY', KEYS[1], 'number', 1)
end
return tonumber(redis.call('HGET', KEYS[1], 'number'))
