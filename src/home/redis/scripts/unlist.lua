#!lua flags=allow-oom
-- Removes a task from its bucket of the index, unless a task of the same id was created since.
-- KEYS tasks of the bucket, changes of the bucket
-- ARGV id, created (ms), bound of the changes
-- Replies OK
if redis.call('ZSCORE', KEYS[1], ARGV[1]) == ARGV[2] then redis.call('ZREM', KEYS[1], ARGV[1]) end
redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[3], '*', 'id', ARGV[1])
return { 'OK' }
