#!lua flags=allow-oom
-- Removes a task or a run.
-- KEYS hash, then all other keys of it
-- ARGV birth
-- Replies OK created | NONE (it does not exist) | OTHER (another task has the id)
local birth = redis.call('HGET', KEYS[1], 'b')
if not birth then return { 'NONE' } end
if birth ~= ARGV[1] then return { 'OTHER' } end
local created = redis.call('HGET', KEYS[1], 'c')
redis.call('UNLINK', unpack(KEYS))
return { 'OK', created }
