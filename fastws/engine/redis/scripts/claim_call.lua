-- Claim a call for one process.
-- KEYS[1] what is known of it; ARGV[1] its fingerprint, ARGV[2] who claims it, ARGV[3] for how many milliseconds.
-- Answers what is so now, and behind `done` the answer.
local known = redis.call('HMGET', KEYS[1], 'is', 'by', 'answer')
if not known[1] then
  redis.call('HSET', KEYS[1], 'is', ARGV[1], 'by', ARGV[2])
  redis.call('PEXPIRE', KEYS[1], ARGV[3])
  return {'granted'}
end
if known[1] ~= ARGV[1] then
  return {'reused'}
end
if known[3] then
  return {'done', known[3]}
end
return {'running'}
