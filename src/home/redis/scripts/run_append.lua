#!lua
-- Appends the events of a run that are new.
-- KEYS stream, hash, foreign numbers, prints
-- ARGV epoch, then per event: print, number of fields, then name and value of each
-- Replies OK birth last last_id appended | NONE | EPOCH epoch birth | ACCOUNT birth | EXHAUSTED
local hash, prints = KEYS[2], KEYS[4]
local run = load_task(hash)
if not run then return { 'NONE' } end
if run.epoch ~= ARGV[1] then return { 'EPOCH', run.epoch, run.birth } end
if not account(KEYS, run) then
  save_task(hash, run)
  return { 'ACCOUNT', run.birth }
end
if is_exhausted(run) then
  save_task(hash, run)
  return { 'EXHAUSTED' }
end
local now, appended, at = now_ms(), 0, 2
while at <= #ARGV do
  local print, count = ARGV[at], tonumber(ARGV[at + 1])
  if redis.call('HEXISTS', prints, print) == 0 then
    local fields = {}
    for part = at + 2, at + 1 + count * 2 do
      fields[#fields + 1] = ARGV[part]
      if part % 2 ~= at % 2 then run.bytes = run.bytes + #ARGV[part] end
    end
    run.n = run.n + 1
    run.ea = run.ea + 1
    appended = appended + 1
    fields[#fields + 1] = 'tt'
    fields[#fields + 1] = int(run.n)
    redis.call('XADD', KEYS[1], next_id(run, now), unpack(fields))
    redis.call('HSET', prints, print, int(run.n))
  end
  at = at + 2 + count * 2
end
save_task(hash, run)
return { 'OK', run.birth, int(run.n), run.last_id, int(appended) }
