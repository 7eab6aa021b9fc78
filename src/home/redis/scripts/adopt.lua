#!lua
-- Creates a sealed task whose log is in the archive, unless its id is in use.
-- KEYS stream, hash
-- ARGV birth, created (ms), epoch, last line, bytes, skipped lines, fence, then fields: name, value
-- Replies OK | EXISTS created | FOREIGN (another client has added entries, which are no task yet)
local hash = KEYS[2]
local found = redis.call('HMGET', hash, 'b', 'c')
if found[1] then
  -- The answer to an earlier call may have been lost, or the index may have.
  return { 'EXISTS', found[2] or ARGV[2] }
end
if redis.call('EXISTS', KEYS[1]) == 1 then return { 'FOREIGN' } end
redis.call('HSET', hash, 'v', '1', 'b', ARGV[1], 'c', ARGV[2], 'st', 'sealed', 'ep', ARGV[3], 'n', ARGV[4],
  'li', '0-0', 'by', ARGV[5], 'sk', ARGV[6], 'arc', ARGV[4], 'f', ARGV[7])
for at = 8, #ARGV, 2 do redis.call('HSET', hash, 'r:' .. ARGV[at], ARGV[at + 1]) end
return { 'OK' }
