-- Functions that the scripts of a task share; set between the first line of a script and its body.
--
-- The hash of a task, `{task:logs:ID}:tt`:
--   v form (1)   b birth   c created, ms   st run | ended | sealed   ep epoch   eps `EPOCH:LAST_LINE ...`
--   n last number   ea entries-added of the stream at that time   li last id   by, sk bytes, skipped lines
--   s:SESSION `SEQ INDEX USED`   sc sessions   x:INDEX session   xn next index   w:SERVER attached until, ms
--   arc archived through   seg object names, one a line   f highest fence   r:NAME fact   et token of the end
-- The sorted set `{task:logs:ID}:fx` holds the numbers of entries that other clients added, and a member with number 0:
-- all keys of a task exist, since a cluster refuses scripts with a missing key while their slot moves.
-- An entry of ours has the fields line, timestamp, stream and tt: `N [INDEX.SEQ[.PIECE] | -] [FLAGS | -] [SESSION]`.

local SESSIONS_MAX = 48
local INDEXES_MAX = 254
local ACCOUNT_MAX = 2000

local function int(number)
  return string.format('%.0f', number)
end

local function now_ms()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end

local function parts_of(id)
  local ms, seq = string.match(id, '^(%d+)%-(%d+)$')
  return ms, seq
end

local function padded(digits)
  return string.rep('0', 20 - #digits) .. digits
end

-- Reports whether id a is greater than id b. Parts are compared as text: they can exceed 2^53.
local function is_after(a, b)
  local a_ms, a_seq = parts_of(a)
  local b_ms, b_seq = parts_of(b)
  if a_ms ~= b_ms then return padded(a_ms) > padded(b_ms) end
  return padded(a_seq) > padded(b_seq)
end

-- Reads the facts of a task that a change needs; nil if it does not exist.
local function load_task(hash)
  local f = redis.call('HMGET', hash, 'b', 'st', 'ep', 'n', 'ea', 'li', 'by', 'sk', 'arc', 'f')
  if not f[1] then return nil end
  return {
    birth = f[1], status = f[2] or 'run', epoch = f[3] or '', n = tonumber(f[4]) or 0, ea = tonumber(f[5]) or 0,
    last_id = f[6] or '0-0', bytes = tonumber(f[7]) or 0, skipped = tonumber(f[8]) or 0,
    archived = tonumber(f[9]) or 0, fence = tonumber(f[10]) or 0,
  }
end

local function save_task(hash, task)
  redis.call('HSET', hash, 'n', int(task.n), 'ea', int(task.ea), 'li', task.last_id, 'by', int(task.bytes),
    'sk', int(task.skipped))
end

-- Numbers the entries that other clients added since the last change. Returns false if more are left than one
-- call may number; the caller saves the task and asks for another call.
local function account(keys, task)
  local info = redis.pcall('XINFO', 'STREAM', keys[1])
  if info.err then
    if not string.find(info.err, 'no such key', 1, true) then error(info) end
    task.ea = 0
    return true
  end
  local stream = {}
  for at = 1, #info, 2 do stream[info[at]] = info[at + 1] end
  local added, first, last = stream['entries-added'], stream['first-entry'], stream['last-generated-id']
  local is_new = added < task.ea
    or (first and stream['length'] > added - task.ea and is_after(first[1], task.last_id))
  if is_new then task.ea = 0 end
  local foreign = added - task.ea
  if foreign > 0 then
    local page = redis.call('XRANGE', keys[1], '(' .. task.last_id, '+', 'COUNT', ACCOUNT_MAX + 1)
    local is_whole = #page <= ACCOUNT_MAX
    -- Entries that were deleted before they had a number keep theirs, unread: a gap that readers are told.
    if is_whole then task.n = task.n + math.max(foreign - #page, 0) end
    for at = 1, math.min(#page, ACCOUNT_MAX) do
      task.n = task.n + 1
      task.last_id = page[at][1]
      redis.call('ZADD', keys[3], int(task.n), task.last_id)
    end
    task.ea = is_whole and added or task.ea + ACCOUNT_MAX
    if not is_whole then return false end
  end
  if is_after(last, task.last_id) then task.last_id = last end
  return true
end

-- Returns the id of the next entry: greater than every id that the stream ever had, independent of the clock.
local function next_id(task, now)
  local ms, seq = parts_of(task.last_id)
  if tonumber(ms) < now then
    task.last_id = int(now) .. '-0'
  else
    task.last_id = ms .. '-' .. int(tonumber(seq) + 1)
  end
  return task.last_id
end

-- Reports whether the ids of the current millisecond are used up (another client chose such an id).
local function is_exhausted(task)
  local ms, seq = parts_of(task.last_id)
  return tonumber(ms) >= 9e15 or tonumber(seq) >= 9e15
end

local function add_entry(keys, task, now, text, time, channel, tail)
  task.n = task.n + 1
  task.ea = task.ea + 1
  redis.call('XADD', keys[1], next_id(task, now), 'line', text, 'timestamp', time, 'stream', channel,
    'tt', int(task.n) .. tail)
end

-- Adds the line that stands for missing numbers.
local function add_marker(keys, task, now, time, text)
  add_entry(keys, task, now, text, time, 'internal', '')
  task.bytes = task.bytes + #text + 1
end

local function load_session(hash, name)
  local value = redis.call('HGET', hash, 's:' .. name)
  if not value then return { name = name, known = 0, is_new = true, index = '-' } end
  local known, index = string.match(value, '^(%d+) (%S+)')
  return { name = name, known = tonumber(known), index = index }
end

-- Gives a session its place: at most SESSIONS_MAX, the least recently used makes room.
local function open_session(hash, session, is_own)
  local counts = redis.call('HMGET', hash, 'sc', 'xn')
  local sessions, index = tonumber(counts[1]) or 0, tonumber(counts[2]) or 0
  if sessions >= SESSIONS_MAX then
    local all, oldest, used = redis.call('HGETALL', hash), nil, nil
    for at = 1, #all, 2 do
      if string.sub(all[at], 1, 2) == 's:' then
        local use = tonumber(string.match(all[at + 1], '(%d+)$'))
        if not used or use < used then oldest, used = all[at], use end
      end
    end
    redis.call('HDEL', hash, oldest)
    sessions = sessions - 1
  end
  if is_own then
    session.index = '-'
  elseif index < INDEXES_MAX then
    session.index = int(index)
    redis.call('HSET', hash, 'x:' .. session.index, session.name)
    index = index + 1
  else
    session.index = '*'
  end
  redis.call('HSET', hash, 'sc', int(sessions + 1), 'xn', int(index))
end

local function save_session(hash, session, known, n)
  redis.call('HSET', hash, 's:' .. session.name, int(known) .. ' ' .. session.index .. ' ' .. int(n))
end
