#!lua
-- Sets facts of a task; the last writer of a fact stays.
-- KEYS hash
-- ARGV birth, then fields: name, value
-- Replies OK | REMOVED
if redis.call('HGET', KEYS[1], 'b') ~= ARGV[1] then return { 'REMOVED' } end
for at = 2, #ARGV, 2 do redis.call('HSET', KEYS[1], 'r:' .. ARGV[at], ARGV[at + 1]) end
return { 'OK' }
