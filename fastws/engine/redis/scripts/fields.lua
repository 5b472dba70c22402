-- A field of a hash. What is no hash would be in the way for ever, and is thrown away.
local function field_of(key, field)
  local value = redis.pcall('HGET', key, field)
  if type(value) ~= 'table' then
    return value
  end
  if not string.find(value.err, 'WRONGTYPE') then
    error(value)
  end
  redis.call('DEL', key)
  return false
end

