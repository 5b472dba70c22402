-- Give publications of one topic with history their offsets, keep them, and tell them to everybody who hears it.
-- Behind the keys of `epoch`: KEYS[4] where the result is remembered, if the publication has a key.
-- Behind its arguments: ARGV[5] how it is published, ARGV[6] in which channel, ARGV[7] for how many seconds the result is
-- remembered, then the flags and the tail of each publication's envelope.
-- Answers the epoch, the offset of the last one, and how many processes heard it; -1 if the key was known.
if KEYS[4] then
  local known = redis.call('GET', KEYS[4])
  if known then
    local epoch, offset = string.match(known, '^(%S+) (%d+)$')
    -- It changes nothing, but is a write: whoever waits for replicas waits for what was written before by others, too.
    redis.call('PEXPIREAT', KEYS[4], string.format('%.0f', redis.call('PEXPIRETIME', KEYS[4])))
    return {epoch or '', tonumber(offset or 0), -1}  -- the topic may have had no history then
  end
end
local epoch, offset, chain, era, change = position()
if change == 'new' then
  redis.call('DEL', KEYS[3])
end
local ts_ms = now_ms()
local batch, count = {string.char(1, 2)}, 0
local envelope
for at = 8, #ARGV, 2 do
  offset = offset + 1
  envelope = struct.pack('>BBBBI8I8', 1, 1, tonumber(ARGV[at]), #epoch, offset, ts_ms) .. epoch .. ARGV[at + 1]
  redis.call('XADD', KEYS[3], 'MAXLEN', ARGV[2], number(offset) .. '-0', 'e', envelope)
  count = count + 1
  batch[2 * count] = struct.pack('>I4', #envelope)
  batch[2 * count + 1] = envelope
end
if change then
  keep(epoch, offset, chain, era)
else
  redis.call('HSET', KEYS[2], 'offset', number(offset), 'idle', ARGV[4])
end
-- Who reads leaves out what is too old. Here it goes a little later, many at once: to look for where it ends with each
-- publication took a fifth of the time of all, and more where more is kept.
local first_ms = ARGV[3] ~= '0' and select(2, entry_at(0))
if first_ms and first_ms <= ts_ms - tonumber(ARGV[3]) * 17 / 16 then
  trim(offset)
end
used(false)
if KEYS[4] then
  redis.call('SET', KEYS[4], epoch .. ' ' .. number(offset), 'EX', ARGV[7])
end
return {epoch, offset, redis.call(ARGV[5], ARGV[6], count == 1 and envelope or table.concat(batch))}
