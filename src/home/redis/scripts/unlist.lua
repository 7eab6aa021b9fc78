#!lua flags=allow-oom
-- Removes a task or run from its bucket of the index, unless one of the same id was created since.
-- KEYS tasks or runs of the bucket, changes of the bucket
-- ARGV id, created (ms), bound of the changes, `id` (of a task) or `run`
-- Replies OK
if redis.call('ZSCORE', KEYS[1], ARGV[1]) == ARGV[2] then redis.call('ZREM', KEYS[1], ARGV[1]) end
redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[3], '*', ARGV[4], ARGV[1])
return { 'OK' }
