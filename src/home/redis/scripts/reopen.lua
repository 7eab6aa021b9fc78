#!lua
-- Continues a task in another epoch: a primary with another replication id holds it.
-- KEYS stream, hash, foreign numbers
-- ARGV birth, epoch to leave, epoch
-- Replies OK epoch | REMOVED
local hash = KEYS[2]
local f = redis.call('HMGET', hash, 'b', 'ep', 'n', 'arc', 'eps')
if f[1] ~= ARGV[1] then return { 'REMOVED' } end
if f[2] ~= ARGV[2] or f[2] == ARGV[3] then return { 'OK', f[2] } end
local n = math.max(tonumber(f[3]) or 0, tonumber(f[4]) or 0)
local past = ARGV[2] .. ':' .. int(n)
local all = f[5] and f[5] .. ' ' .. past or past
-- The newest 32 are enough for every reader that was not away for 32 failovers.
local count = select(2, string.gsub(all, ':', ''))
while count > 32 do
  all = string.match(all, '^%S+ (.*)$')
  count = count - 1
end
redis.call('HSET', hash, 'ep', ARGV[3], 'eps', all, 'n', int(n))
return { 'OK', ARGV[3] }
