-- Say what has become of a call that was claimed.
-- KEYS[1] what is known of it; ARGV[1] its fingerprint, ARGV[2] who has claimed it, ARGV[3] `kept`: its answer, for
-- ARGV[4] milliseconds, is ARGV[5]; `free`: it had no effect; `running`: it goes on, for ARGV[4] milliseconds more.
-- Answers 1, or 0 if it is another one's by now.
local by = redis.call('HGET', KEYS[1], 'by')
if by and by ~= ARGV[2] then
  return 0
end
if ARGV[3] == 'free' then
  redis.call('DEL', KEYS[1])
  return 1
end
redis.call('HSET', KEYS[1], 'is', ARGV[1], 'by', ARGV[2])
if ARGV[3] == 'kept' then
  redis.call('HSET', KEYS[1], 'answer', ARGV[5])
end
redis.call('PEXPIRE', KEYS[1], ARGV[4])
return 1
