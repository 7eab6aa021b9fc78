#!lua
-- Takes or renews a lease, by the clock of this server.
-- KEYS lease
-- ARGV owner, time to live in ms (0: release)
-- Replies OK fence | TAKEN owner until | FREE
local owner, ttl, now = ARGV[1], tonumber(ARGV[2]), now_ms()
local held = redis.call('HMGET', KEYS[1], 'owner', 'until', 'fence')
local is_held = held[1] and (tonumber(held[2]) or 0) > now
local fence = tonumber(held[3]) or 0
if is_held and held[1] ~= owner then return { 'TAKEN', held[1], held[2] } end
if ttl == 0 then
  -- The fence stays: the next one must be greater.
  if is_held then redis.call('HSET', KEYS[1], 'until', '0') end
  return { 'FREE' }
end
if not is_held then fence = math.max(fence + 1, now) end
redis.call('HSET', KEYS[1], 'owner', owner, 'until', int(now + ttl), 'fence', int(fence))
return { 'OK', int(fence) }
