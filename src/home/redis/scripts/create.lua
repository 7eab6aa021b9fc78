#!lua
-- Creates a task, unless it exists.
-- KEYS hash
-- ARGV birth, created (ms), epoch, then fields: name, value
-- Replies OK facts | EXISTS facts
local hash = KEYS[1]
local birth = redis.call('HGET', hash, 'b')
if birth then
  -- The answer to an earlier call may have been lost.
  return { birth == ARGV[1] and 'OK' or 'EXISTS', redis.call('HGETALL', hash) }
end
redis.call('HSET', hash, 'v', '1', 'b', ARGV[1], 'c', ARGV[2], 'st', 'run', 'ep', ARGV[3], 'n', '0', 'ea', '0',
  'li', '0-0', 'by', '0', 'sk', '0', 'arc', '0', 'f', '0')
for at = 4, #ARGV, 2 do redis.call('HSET', hash, 'r:' .. ARGV[at], ARGV[at + 1]) end
return { 'OK', redis.call('HGETALL', hash) }
