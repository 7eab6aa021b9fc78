#!lua flags=allow-oom
-- Records a segment in the archive and drops its lines from the stream.
-- KEYS stream, hash, foreign numbers
-- ARGV birth, first line, last line, object name, id of the last line, fence
-- Replies OK | STALE facts | REMOVED
local hash, from, to, fence = KEYS[2], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[6])
local task = load_task(hash)
if not task or task.birth ~= ARGV[1] then return { 'REMOVED' } end
local segments = redis.call('HGET', hash, 'seg') or ''
-- The answer to an earlier call may have been lost.
local newest = string.match(segments, '([^\n]*)$')
if task.archived == to and newest == ARGV[4] then return { 'OK' } end
if task.status == 'sealed' or task.archived ~= from - 1 or to < from or to > task.n or fence < task.fence then
  return { 'STALE', redis.call('HGETALL', hash) }
end
local ms, seq = parts_of(ARGV[5])
redis.call('XTRIM', KEYS[1], 'MINID', '=', ms .. '-' .. int(tonumber(seq) + 1))
redis.call('ZREMRANGEBYSCORE', KEYS[3], '(0', ARGV[3])
redis.call('HSET', hash, 'arc', ARGV[3], 'f', ARGV[6],
  'seg', segments == '' and ARGV[4] or segments .. '\n' .. ARGV[4])
return { 'OK' }
