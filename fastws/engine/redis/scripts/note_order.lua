-- Keep an order in the log that processes read which could not hear: those that live are told by letter.
-- KEYS[1] the log, KEYS[2] beats. ARGV[1] the envelope of the order, ARGV[2] how many are kept, ARGV[3] for how many
-- milliseconds. Answers whether it is kept, and the nodes that live; who is none of them reads the log when it comes back.
-- An order that cannot be kept, where memory is short, is carried out by those that live all the same.
local function add()
  return redis.pcall('XADD', KEYS[1], 'MAXLEN', ARGV[2], '*', 'e', ARGV[1])
end
local id = add()
if type(id) == 'table' and id.err and string.find(id.err, '^WRONGTYPE') then
  redis.call('DEL', KEYS[1])
  id = add()
end
local answer = redis.call('HKEYS', KEYS[2])
if type(id) ~= 'table' then
  local oldest_ms = tonumber(string.match(id, '^%d+')) - tonumber(ARGV[3])
  redis.call('XTRIM', KEYS[1], 'MINID', '~', string.format('%.0f', math.max(oldest_ms, 0)))
  redis.call('PEXPIRE', KEYS[1], ARGV[3])
end
table.insert(answer, 1, type(id) ~= 'table' and 1 or 0)
return answer
