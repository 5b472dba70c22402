-- Note connections of one node, all of whose users are in one partition.
-- KEYS[1] the node's connections in this partition; for each connection the sessions of its user, or KEYS[1] again if it
-- is anonymous. ARGV[1] the node; for each connection its id, its user, its device, and since when it is there, in Unix
-- milliseconds, 0 = since now; with a minus sign if it was reported as lost already.
local now_ms
for i = 2, #KEYS do
  local at = 4 * i - 6
  local conn, user, device, since = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3]
  local own = field_of(KEYS[1], conn)
  local theirs = KEYS[i] ~= KEYS[1] and field_of(KEYS[i], conn)
  local held = own or theirs
  local sign = (string.sub(since, 1, 1) == '-' or own and string.sub(own, 1, 1) == '-') and '-' or ''
  since = held and string.match(held, '^%-?(%d+)') or string.match(since, '%d+')
  if since == '0' then
    if not now_ms then
      local time = redis.call('TIME')
      now_ms = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
    end
    since = now_ms
  end
  redis.call('HSET', KEYS[1], conn, sign .. since .. ' ' .. #device .. ' ' .. device .. user)
  if KEYS[i] ~= KEYS[1] then
    redis.call('HSET', KEYS[i], conn, since .. ' ' .. ARGV[1] .. ' ' .. device)
  end
end
return #KEYS - 1
