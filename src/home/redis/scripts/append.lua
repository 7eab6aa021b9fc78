#!lua
-- Appends a batch of lines to a task: drops duplicates, marks a hole, numbers the lines.
-- KEYS stream, hash, foreign numbers
-- ARGV birth, epoch, session (empty: none), flags (e the session ends, o over a limit, u the server's own session),
--      first seq, seq that must be known, limit, bound of the stream's length (0: none), time of a marker,
--      then per line: text, timestamp, channel, mark (n next | c continuation | u unnumbered, then p partial,
--      l lossy, then the lines it reports as skipped)
-- Replies OK first last last_id count known | REMOVED | ENDED known | EPOCH epoch | ACCOUNT | FULL known
--         | BEHIND known | EXHAUSTED
local birth, epoch, name, flags = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local first, needed, limit, bound = tonumber(ARGV[5]), tonumber(ARGV[6]), ARGV[7], tonumber(ARGV[8])
local hash = KEYS[2]
local task = load_task(hash)
if not task or task.birth ~= birth then return { 'REMOVED' } end
local has_session = name ~= ''
local session = has_session and load_session(hash, name) or { known = 0 }
if task.status ~= 'run' then return { 'ENDED', int(session.known) } end
if task.epoch ~= epoch then return { 'EPOCH', task.epoch } end
local is_accounted = account(KEYS, task)
local function refuse(...)
  save_task(hash, task)
  return { ... }
end
if not is_accounted then return refuse('ACCOUNT') end
if session.known < needed then return refuse('BEHIND', int(session.known)) end
if bound > 0 and redis.call('XLEN', KEYS[1]) >= bound then return refuse('FULL', int(session.known)) end
if is_exhausted(task) then return refuse('EXHAUSTED') end

local now, before = now_ms(), task.n
local is_own, is_over = string.find(flags, 'u', 1, true), string.find(flags, 'o', 1, true)
local closes = is_over or string.find(flags, 'e', 1, true)
local has_lines = #ARGV > 9
local known = session.known
if has_session and session.is_new then open_session(hash, session, is_own) end
if has_session and not is_own and first > known + 1 and (has_lines or closes) then
  local count = first - known - 1
  if is_over then
    add_marker(KEYS, task, now, ARGV[9], '[' .. int(count) .. ' lines over the limit of ' .. limit .. ']')
    task.skipped = task.skipped + count
  else
    add_marker(KEYS, task, now, ARGV[9], '[' .. int(count) .. ' messages lost in transit]')
  end
end
if closes then known = math.max(known, first - 1) end

local floor, next_seq, piece, is_duplicate = known, first, 0, false
for at = 10, #ARGV, 4 do
  local text, mark = ARGV[at], ARGV[at + 3]
  local numbering = string.sub(mark, 1, 1)
  if numbering == 'n' and has_session then
    is_duplicate = next_seq <= floor
    next_seq = next_seq + 1
    piece = 0
  elseif numbering == 'c' then
    piece = piece + 1
  end
  if not is_duplicate then
    local forms, skipped = string.match(mark, '^.(%a*)(%d*)$')
    local tail = ''
    if has_session and not is_own and numbering ~= 'u' then
      tail = ' ' .. session.index .. '.' .. int(next_seq - 1) .. (piece > 0 and '.' .. piece or '')
      if session.index == '*' then
        tail = tail .. ' ' .. (forms ~= '' and forms or '-') .. ' ' .. name
      elseif forms ~= '' then
        tail = tail .. ' ' .. forms
      end
    elseif forms ~= '' then
      tail = ' - ' .. forms
    end
    add_entry(KEYS, task, now, text, ARGV[at + 1], ARGV[at + 2], tail)
    task.bytes = task.bytes + #text + (string.find(forms, 'p', 1, true) and 0 or 1)
    if skipped ~= '' then task.skipped = task.skipped + tonumber(skipped) end
    if has_session then known = next_seq - 1 end
  end
end
save_task(hash, task)
if has_session then
  known = math.max(known, session.known)
  save_session(hash, session, known, task.n)
end
local count = task.n - before
local from, to = 0, 0
if count > 0 then from, to = before + 1, task.n end
return { 'OK', int(from), int(to), task.last_id, int(count), int(known) }
