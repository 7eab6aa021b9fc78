#!lua flags=allow-oom
-- Records that the whole log of an ended task is in the archive, and frees its stream.
-- KEYS stream, hash, foreign numbers
-- ARGV birth, last line, fence, then fields: name, value
-- Replies OK | STALE facts | REMOVED | ACCOUNT
local hash, fence = KEYS[2], tonumber(ARGV[3])
local task = load_task(hash)
if not task or task.birth ~= ARGV[1] then return { 'REMOVED' } end
if task.status == 'sealed' then
  -- The answer to an earlier call may have been lost.
  if task.fence == fence and task.n == tonumber(ARGV[2]) then return { 'OK' } end
  return { 'STALE', redis.call('HGETALL', hash) }
end
local is_whole = account(KEYS, task)
save_task(hash, task)
if not is_whole then return { 'ACCOUNT' } end
if task.status ~= 'ended' or task.n ~= tonumber(ARGV[2]) or fence < task.fence then
  return { 'STALE', redis.call('HGETALL', hash) }
end
redis.call('UNLINK', KEYS[1], KEYS[3])
for _, name in ipairs(redis.call('HKEYS', hash)) do
  if string.find(name, '^[swx]:') then redis.call('HDEL', hash, name) end
end
redis.call('HDEL', hash, 'seg', 'sc', 'xn', 'et', 'ea')
redis.call('HSET', hash, 'st', 'sealed', 'arc', ARGV[2], 'f', ARGV[3])
for at = 4, #ARGV, 2 do redis.call('HSET', hash, 'r:' .. ARGV[at], ARGV[at + 1]) end
return { 'OK' }
