#!lua
-- Registers a server as live and removes those that are not.
-- KEYS servers
-- ARGV server, time to live in ms (0: only list)
-- Replies the live servers
local now, ttl = now_ms(), tonumber(ARGV[2])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', int(now))
if ttl > 0 then redis.call('ZADD', KEYS[1], int(now + ttl), ARGV[1]) end
return redis.call('ZRANGE', KEYS[1], 0, -1)
