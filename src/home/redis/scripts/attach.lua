#!lua
-- Records that a worker of the task is connected to a server, or no longer is.
-- KEYS hash
-- ARGV birth, server, time to live in ms (0: detach)
-- Replies OK | REMOVED
if redis.call('HGET', KEYS[1], 'b') ~= ARGV[1] then return { 'REMOVED' } end
local ttl = tonumber(ARGV[3])
if redis.call('HGET', KEYS[1], 'st') ~= 'run' or ttl == 0 then
  redis.call('HDEL', KEYS[1], 'w:' .. ARGV[2])
else
  redis.call('HSET', KEYS[1], 'w:' .. ARGV[2], int(now_ms() + ttl))
end
return { 'OK' }
