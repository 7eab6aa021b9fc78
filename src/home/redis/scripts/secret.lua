#!lua
-- Replaces or deletes a secret, if it has the version that the caller read.
-- KEYS secret
-- ARGV version (0: it does not exist), `set` or `delete`, value, time to live in ms (0: none)
-- Replies OK version | CHANGED
local key = KEYS[1]
local version = tonumber(redis.call('HGET', key, 'v')) or 0
if version ~= tonumber(ARGV[1]) then return { 'CHANGED' } end
if ARGV[2] == 'delete' then
  redis.call('DEL', key)
  return { 'OK', '0' }
end
-- By the clock, so that a version is not used again after the secret was deleted.
local time = redis.call('TIME')
version = math.max(version + 1, tonumber(time[1]) * 1000000 + tonumber(time[2]))
redis.call('HSET', key, 'v', int(version), 'd', ARGV[3])
if tonumber(ARGV[4]) > 0 then redis.call('PEXPIRE', key, ARGV[4]) else redis.call('PERSIST', key) end
return { 'OK', int(version) }
