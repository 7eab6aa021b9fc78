#!lua
-- Replaces a secret that all servers share, if it is as the caller read it.
-- KEYS value
-- ARGV expected ('' for none), new
-- Replies OK | STALE
if (redis.call('GET', KEYS[1]) or '') ~= ARGV[1] then return { 'STALE' } end
redis.call('SET', KEYS[1], ARGV[2])
return { 'OK' }
