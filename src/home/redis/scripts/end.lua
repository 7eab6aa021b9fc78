#!lua
-- Ends a task. The first end stays.
-- KEYS stream, hash, foreign numbers
-- ARGV birth, epoch, token of this call, session (empty: none), end seq, seq that must be known, time of a marker,
--      then fields: name, value
-- Replies OK last | ALREADY facts | REMOVED | EPOCH epoch | ACCOUNT | BEHIND known | EXHAUSTED
local birth, epoch, token, name = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local end_seq, needed = tonumber(ARGV[5]), tonumber(ARGV[6])
local hash = KEYS[2]
local task = load_task(hash)
if not task or task.birth ~= birth then return { 'REMOVED' } end
if task.status ~= 'run' then
  -- The answer to an earlier call may have been lost.
  if redis.call('HGET', hash, 'et') == token then return { 'OK', int(task.n) } end
  return { 'ALREADY', redis.call('HGETALL', hash) }
end
if task.epoch ~= epoch then return { 'EPOCH', task.epoch } end
if not account(KEYS, task) then
  save_task(hash, task)
  return { 'ACCOUNT' }
end
if name ~= '' then
  local session = load_session(hash, name)
  if session.known < needed then
    save_task(hash, task)
    return { 'BEHIND', int(session.known) }
  end
  if end_seq > session.known + 1 then
    if is_exhausted(task) then
      save_task(hash, task)
      return { 'EXHAUSTED' }
    end
    if session.is_new then open_session(hash, session, false) end
    local count = int(end_seq - session.known - 1)
    add_marker(KEYS, task, now_ms(), ARGV[7], '[' .. count .. ' messages lost in transit]')
    save_session(hash, session, end_seq - 1, task.n)
  end
end
save_task(hash, task)
redis.call('HSET', hash, 'st', 'ended', 'et', token)
for at = 8, #ARGV, 2 do redis.call('HSET', hash, 'r:' .. ARGV[at], ARGV[at + 1]) end
return { 'OK', int(task.n) }
