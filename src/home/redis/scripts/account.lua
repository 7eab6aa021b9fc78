#!lua
-- Numbers the entries that other clients added, so that their numbers are durable before a reader sees them.
-- KEYS stream, hash, foreign numbers
-- ARGV birth
-- Replies OK last | MORE | REMOVED
local task = load_task(KEYS[2])
if not task or task.birth ~= ARGV[1] or task.status == 'sealed' then return { 'REMOVED' } end
local is_whole = account(KEYS, task)
save_task(KEYS[2], task)
if is_whole then return { 'OK', int(task.n) } end
return { 'MORE' }
