-- Where a topic with history is. It belongs to the era in which it was written last: in another one the end of what was
-- published may be lost, so it gets a new epoch, counts on, and remembers where its former epochs ended.
-- KEYS[1] the era of the partition, KEYS[2] what is known of the topic, KEYS[3] its history; ARGV[1] an epoch that it
-- gets if it needs one, ARGV[2] how many publications it keeps, ARGV[3] for how many milliseconds (0: for ever),
-- ARGV[4] for how many milliseconds a topic is remembered that nobody asks for.
local FORMER = 4
local MOST = 2 ^ 53

local function number(value)
  return string.format('%.0f', value)
end

local function now_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- Epoch, offset, the chain of former epochs ("epoch offset epoch offset", newest first), whether that is to be written.
-- Where what is known is damaged the topic begins anew, or it could never be used again.
local function position()
  local known = redis.call('HMGET', KEYS[2], 'epoch', 'offset', 'era', 'chain')
  local era = redis.call('HGET', KEYS[1], 'number') or '0'
  local offset = tonumber(known[2] or nil)
  if not known[1] then
    return ARGV[1], 0, '', era, 'new'
  end
  if not (known[4] and offset and offset >= 0 and offset < MOST and offset == math.floor(offset)) then
    redis.log(redis.LOG_WARNING, 'fastws: begins anew, as it was damaged: ' .. KEYS[2])
    return ARGV[1], 0, '', era, 'new'
  end
  if known[3] == era then
    return known[1], offset, known[4], era, nil
  end
  local chain, length = {known[1] .. ' ' .. known[2]}, 1
  for former in string.gmatch(known[4], '%S+ %d+') do
    if length < FORMER then
      length = length + 1
      chain[length] = former
    end
  end
  local last = redis.call('XREVRANGE', KEYS[3], '+', '-', 'COUNT', 1)[1]
  if last then
    offset = math.max(offset, tonumber(string.match(last[1], '^%d+')))  -- else nothing could be added any more
  end
  return ARGV[1], offset, table.concat(chain, ' '), era, 'other'
end

local function keep(epoch, offset, chain, era)
  redis.call('HSET', KEYS[2], 'epoch', epoch, 'offset', number(offset), 'era', era, 'chain', chain, 'idle', ARGV[4])
end

-- What is not used for as long as it may be idle is forgotten; but what is kept for ever is.
local function used(is_empty)
  if ARGV[3] == '0' and not is_empty then
    redis.call('PERSIST', KEYS[2])
    redis.call('PERSIST', KEYS[3])
  else
    redis.call('PEXPIRE', KEYS[2], ARGV[4])
    redis.call('PEXPIRE', KEYS[3], ARGV[4])
  end
end

-- The offset and the time of the first publication that is there at an offset or after it.
local function entry_at(offset)
  local found = redis.call('XRANGE', KEYS[3], number(offset), '+', 'COUNT', 1)[1]
  if found then
    return tonumber(string.match(found[1], '^%d+')), (struct.unpack('>I8', found[2][2], 13))
  end
end

-- Leave out what is too much or too old; the offset of the first that is left, or nil.
local function trim(offset)
  redis.call('XTRIM', KEYS[3], 'MAXLEN', ARGV[2])
  local first, first_ms = entry_at(0)
  local ttl_ms = tonumber(ARGV[3])
  if not first or ttl_ms == 0 then
    return first
  end
  local oldest_ms = now_ms() - ttl_ms
  if first_ms > oldest_ms then
    return first
  end
  local old, young = first, offset + 1
  while young - old > 1 do
    local middle = math.floor((old + young) / 2)
    local found, found_ms = entry_at(middle)
    if found and found < young and found_ms <= oldest_ms then
      old = found
    else
      young = middle
    end
  end
  redis.call('XTRIM', KEYS[3], 'MINID', number(young))
  return (entry_at(young))
end
