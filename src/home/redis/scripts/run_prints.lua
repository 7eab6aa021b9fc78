#!lua
-- Records the prints of events that other clients added, so that they are not appended again.
-- KEYS hash, prints
-- ARGV birth, then per event: print, number
-- Replies OK | REMOVED
if redis.call('HGET', KEYS[1], 'b') ~= ARGV[1] then return { 'REMOVED' } end
for at = 2, #ARGV, 2 do redis.call('HSETNX', KEYS[2], ARGV[at], ARGV[at + 1]) end
return { 'OK' }
