#!lua
-- Creates a task, unless it exists.
-- KEYS hash, stream, foreign numbers
-- ARGV birth, created (ms), epoch, `new` or `foreign` (only if the stream exists), then fields: name, value
-- Replies OK facts | EXISTS facts | NONE
local hash = KEYS[1]
local birth = redis.call('HGET', hash, 'b')
if birth then
  -- The answer to an earlier call may have been lost.
  return { birth == ARGV[1] and 'OK' or 'EXISTS', redis.call('HGETALL', hash) }
end
local created = ARGV[2]
if ARGV[4] == 'foreign' then
  if redis.call('EXISTS', KEYS[2]) == 0 then return { 'NONE' } end
  local oldest = redis.call('XRANGE', KEYS[2], '-', '+', 'COUNT', 1)[1]
  if oldest then created = string.match(oldest[1], '^(%d+)') end
end
redis.call('DEL', KEYS[3])
redis.call('HSET', hash, 'v', '1', 'b', ARGV[1], 'c', created, 'st', 'run', 'ep', ARGV[3], 'n', '0', 'ea', '0',
  'li', '0-0', 'by', '0', 'sk', '0', 'arc', '0', 'f', '0')
for at = 5, #ARGV, 2 do redis.call('HSET', hash, 'r:' .. ARGV[at], ARGV[at + 1]) end
return { 'OK', redis.call('HGETALL', hash) }
