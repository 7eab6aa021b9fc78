#!lua flags=allow-oom
-- Removes a task.
-- KEYS hash, stream, foreign numbers
-- ARGV birth
-- Replies OK created | NONE (it does not exist) | OTHER (another task has the id)
local birth = redis.call('HGET', KEYS[1], 'b')
if not birth then return { 'NONE' } end
if birth ~= ARGV[1] then return { 'OTHER' } end
local created = redis.call('HGET', KEYS[1], 'c')
redis.call('UNLINK', KEYS[1], KEYS[2], KEYS[3])
return { 'OK', created }
