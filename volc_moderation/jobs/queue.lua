-- The queue of distributed jobs. Each call of this script is one step: nothing else happens in the Redis meanwhile.
--
-- KEYS[1] begins all names, and has a hash tag, so that in a cluster all are in one place. Behind it stand
--   queue         a hash: which life of the data this is, the clocks below, the last fence
--   lanes         a set: the lanes that there were jobs of
--   job:KEY       a hash: the job. It is all that is known of it, and expires some time after its end
--   due:LANE      a sorted set: pending jobs, by when they are due
--   workers       a sorted set: workers, by when they were last heard of
--   worker:ID     what a worker tells of itself; taken:ID, a set: the jobs that it has
--   run:NAME      a stream: what became of the jobs that a run listed
-- Channels: work (a lane in which something became due), ended (keys of jobs that ended).
--
-- A job is pending, taken (a worker has it, and its request has not left), sent (it may have left), or has ended: done,
-- failed, given up. Who takes it gets a fence, a number that was never given before; whoever changes the job afterwards
-- shows it. So a worker that stood still, and whose job another one has, changes nothing.

local base, op, arg = KEYS[1], ARGV[1], cjson.decode(ARGV[2])
local call = redis.call

local QUEUE, LANES, WORKERS = base .. 'queue', base .. 'lanes', base .. 'workers'
-- Milliseconds that the clock of leases goes on between two calls at most, and between two times that it is kept.
local LEAP, TICK = 5000, 50
-- Characters of the tokens of earlier runs that a job remembers.
local PAST = 4000

-- Clocks, in milliseconds. By ``now`` jobs become due: it is the server's clock, but does not step back. By ``beat``
-- leases end: it does not step ahead either, and stands still while nobody calls.
local time = call('TIME')
local wall = time[1] * 1000 + math.floor(time[2] / 1000)
local kept = call('HMGET', QUEUE, 'wall', 'offset', 'beat', 'life', 'fence')
local last, offset, beat = tonumber(kept[1]) or wall, tonumber(kept[2]) or 0, tonumber(kept[3]) or 0
local life = kept[4]
if not life then
  -- A fence must not come again after the data were lost.
  life = arg.fresh
  call('HSET', QUEUE, 'life', life, 'fence', wall * 1000)
end
if wall < last then
  offset = offset + last - wall
end
beat = beat + math.min(math.max(wall - last, 0), LEAP)
if wall < last or wall - last >= TICK or not kept[1] then
  call('HSET', QUEUE, 'wall', wall, 'offset', offset, 'beat', beat)
end
local now = wall + offset

local function job_of(key) return base .. 'job:' .. key end
local function due_of(lane) return base .. 'due:' .. lane end
local function taken_of(worker) return base .. 'taken:' .. worker end

-- Which data these are: others after they were lost, and after a restart or a failover, which may lose the latest.
local function incarnation()
  local info = redis.pcall('INFO', 'server')
  return life .. ':' .. (type(info) == 'string' and string.match(info, 'run_id:(%w+)') or '')
end

-- Tell the runs that listed a job what is known of it.
local function tell(job, tokens, keep)
  local known = call('HMGET', job, 'state', 'attempts', 'due', 'outcome')
  for token in string.gmatch(tokens, '%S+') do
    local run, row, listed = string.match(token, '^(%w+):(%d+):(.*)$')
    if run then
      local due = string.format('%.3f', ((tonumber(known[3]) or now) - offset) / 1000)
      call('XADD', base .. 'run:' .. run, '*', 'row', row, 'listed', listed, 'state', known[1], 'attempts', known[2], 'due', due,
        'outcome', known[4] or '{}')
      call('EXPIRE', base .. 'run:' .. run, keep)
    end
  end
end

-- Put a job back among those that are pending; ``attempts`` counts those that left.
local function give_back(key, job, lane, attempts)
  call('HSET', job, 'state', 'pending', 'attempts', attempts, 'due', now)
  call('HDEL', job, 'fence', 'worker')
  call('ZADD', due_of(lane), now, key)
  call('PUBLISH', base .. 'work', lane)
end

-- What a worker that is gone had. What may have left is done again, or is lost if it must not be done twice.
local function recover(worker, most)
  local count = 0
  for _, key in ipairs(call('SPOP', taken_of(worker), most)) do
    local job = job_of(key)
    local known = call('HMGET', job, 'worker', 'state', 'lane', 'attempts', 'once', 'runs')
    if known[1] == worker then
      count = count + 1
      if known[2] == 'taken' then
        give_back(key, job, known[3], known[4] - 1)
      elseif known[5] == '1' then
        call('HSET', job, 'state', 'failed', 'outcome', arg.interrupted, 'ended', wall / 1000)
        call('HDEL', job, 'fence', 'worker')
        call('EXPIRE', job, arg.keep)
        tell(job, known[6], arg.keep)
        call('PUBLISH', base .. 'ended', key)
      else
        call('HSET', job, 'maybe_sent', 1)
        give_back(key, job, known[3], tonumber(known[4]))
      end
    end
  end
  return count
end

local function forget(worker)
  call('ZREM', WORKERS, worker)
  call('DEL', base .. 'worker:' .. worker, taken_of(worker))
end

-- Take the jobs away from workers that were not heard of for too long.
local function reap()
  local left = 1000
  for _, worker in ipairs(call('ZRANGEBYSCORE', WORKERS, '-inf', beat - arg.lease, 'LIMIT', 0, 100)) do
    left = left - recover(worker, left)
    if call('SCARD', taken_of(worker)) > 0 then
      return  -- the rest the next time
    end
    forget(worker)
  end
end

-- Note that a worker is there.
local function hear(worker)
  call('ZADD', WORKERS, beat, worker)
end

local steps = {}

-- Open jobs, or attach a run to those that are open. Returns of each: 0 it is not known, and was to be known; 1 it is
-- to be made; 2 it has ended, and the run is told; and in how many milliseconds it is due, if it waits for another
-- attempt, else -1.
function steps.submit()
  if arg.incarnation and arg.incarnation ~= incarnation() then
    return {}
  end
  local found, woken = {}, {}
  for _, ticket in ipairs(arg.tickets) do
    local key, token = ticket.key, ticket.token
    local job = job_of(key)
    local known = call('HMGET', job, 'state', 'runs', 'past', 'attempts', 'due')
    local state, runs, past = known[1], known[2] or '', known[3] or ''
    local is_listed = string.find(' ' .. runs .. ' ', ' ' .. token .. ' ', 1, true)
    local has_ended = state and state ~= 'pending' and state ~= 'taken' and state ~= 'sent'
    local answer, due = 1, -1
    if not state and ticket.known then
      answer = 0
    elseif has_ended and (is_listed or string.find(' ' .. past .. ' ', ' ' .. token .. ' ', 1, true)) then
      answer = 2
      tell(job, token, arg.keep)
    elseif not state or has_ended then
      if has_ended then
        past = string.sub(past .. ' ' .. runs, -PAST)
        call('DEL', job)
      else
        past = ''
      end
      call('HSET', job, 'state', 'pending', 'lane', ticket.lane, 'parameters', ticket.parameters, 'attempts', 0, 'due',
        now + ticket.delay, 'created', wall / 1000, 'runs', token)
      if past ~= '' then
        call('HSET', job, 'past', past)
      end
      if ticket.line >= 0 then
        call('HSET', job, 'line', ticket.line)
      end
      call('ZADD', due_of(ticket.lane), now + ticket.delay, key)
      woken[ticket.lane] = true
    else
      if not is_listed then
        if string.sub(token, 1, 1) == '-' then
          call('HSET', job, 'past', string.sub(past .. ' ' .. token, -PAST))  -- nobody is told: it is only known again
        else
          call('HSET', job, 'runs', runs .. ' ' .. token)
        end
        if state == 'pending' then
          call('HSET', job, 'parameters', ticket.parameters)
        end
      end
      if state == 'pending' and tonumber(known[4]) > 0 then
        due = math.max(0, tonumber(known[5]) - now)
      end
    end
    found[#found + 1] = answer
    found[#found + 1] = due
  end
  for lane in pairs(woken) do
    call('SADD', LANES, lane)
    call('PUBLISH', base .. 'work', lane)
  end
  return found
end

-- Take jobs of a lane that are due. Returns them, and in how many milliseconds the next one is due if there are none.
function steps.take()
  hear(arg.worker)
  local taken = taken_of(arg.worker)
  local rows = {}
  local state = arg.once and 'taken' or 'sent'
  for _, key in ipairs(call('ZRANGEBYSCORE', due_of(arg.lane), '-inf', now, 'LIMIT', 0, arg.most)) do
    local job = job_of(key)
    local known = call('HMGET', job, 'parameters', 'attempts', 'maybe_sent', 'code', 'line')
    call('ZREM', due_of(arg.lane), key)
    if known[1] then
      local fence = call('HINCRBY', QUEUE, 'fence', 1)
      call('HSET', job, 'state', state, 'fence', fence, 'worker', arg.worker, 'attempts', known[2] + 1, 'once',
        arg.once and 1 or 0, 'sent', wall / 1000)
      call('SADD', taken, key)
      rows[#rows + 1] = {fence, key, known[1], known[2] + 1, known[3] or '0', known[4] or 'null', known[5] or ''}
    end
  end
  local wait = -1
  if #rows == 0 then
    local first = call('ZRANGE', due_of(arg.lane), 0, 0, 'WITHSCORES')
    if first[2] then
      wait = math.max(0, first[2] - now)
    end
  end
  return {rows, wait}
end

-- Is this the fence under which the job is out?
local function holds(one)
  local known = call('HMGET', job_of(one.key), 'fence', 'state', 'lane', 'attempts', 'runs')
  return tonumber(known[1]) == one.fence, known
end

-- Note that a request is about to leave. Returns of each whether it may.
function steps.send()
  hear(arg.worker)
  local found = {}
  for i, one in ipairs(arg.jobs) do
    local is_own = holds(one)
    if is_own then
      call('HSET', job_of(one.key), 'state', 'sent', 'sent', wall / 1000)
    end
    found[i] = is_own and 1 or 0
  end
  return found
end

-- Note what became of attempts. Returns of each whether the job was still the worker's.
function steps.record()
  hear(arg.worker)
  local found, ended = {}, {}
  for i, one in ipairs(arg.jobs) do
    local is_own, known = holds(one)
    found[i] = is_own and 1 or 0
    call('SREM', taken_of(arg.worker), one.key)
    if is_own then
      local job = job_of(one.key)
      local due = now + one.delay
      call('HSET', job, 'state', one.state, 'attempts', one.attempts, 'due', due, 'maybe_sent', one.maybe_sent, 'code',
        one.code, 'outcome', one.outcome)
      call('HDEL', job, 'fence', 'worker')
      if one.state == 'pending' then
        call('ZADD', due_of(known[3]), due, one.key)
        if one.delay == 0 then
          call('PUBLISH', base .. 'work', known[3])
        end
      else
        call('HSET', job, 'ended', wall / 1000)
        if one.parameters ~= '' then
          call('HSET', job, 'parameters', one.parameters)
        end
        call('EXPIRE', job, arg.keep)
        ended[#ended + 1] = one.key
      end
      tell(job, known[5], arg.keep)
    end
  end
  if #ended > 0 then
    call('PUBLISH', base .. 'ended', table.concat(ended, ' '))
  end
  return found
end

-- Give back jobs whose requests have not left.
function steps.give_back()
  hear(arg.worker)
  local count = 0
  for _, one in ipairs(arg.jobs) do
    local is_own, known = holds(one)
    call('SREM', taken_of(arg.worker), one.key)
    if is_own then
      give_back(one.key, job_of(one.key), known[3], known[4] - 1)
      count = count + 1
    end
  end
  return count
end

-- Hear of a worker, and look after those that are gone. Returns which data these are, the last fence, and all lanes
-- with the number of jobs that are due. What the worker took before the fence ``since``, and does not hold, it was never
-- told of: the answer was lost.
function steps.beat()
  hear(arg.worker)
  call('HSET', base .. 'worker:' .. arg.worker, 'told', arg.told)
  local held = {}
  for _, fence in ipairs(arg.held) do
    held[fence] = true
  end
  for _, key in ipairs(arg.since > 0 and call('SMEMBERS', taken_of(arg.worker)) or {}) do
    local known = call('HMGET', job_of(key), 'fence', 'worker', 'lane', 'attempts', 'state', 'once')
    local fence = tonumber(known[1])
    local may_have_left = known[5] == 'sent' and known[6] == '1'
    if known[2] ~= arg.worker then
      call('SREM', taken_of(arg.worker), key)
    elseif fence <= arg.since and not held[fence] and not may_have_left then
      call('SREM', taken_of(arg.worker), key)
      give_back(key, job_of(key), known[3], known[4] - 1)
    end
  end
  reap()
  local lanes = {}
  for _, lane in ipairs(call('SMEMBERS', LANES)) do
    lanes[#lanes + 1] = {lane, call('ZCOUNT', due_of(lane), '-inf', now)}
  end
  return {incarnation(), tonumber(call('HGET', QUEUE, 'fence')), lanes}
end

-- A worker goes. Returns how many of its jobs are others' now.
function steps.leave()
  local count = 0
  while call('SCARD', taken_of(arg.worker)) > 0 do
    count = count + recover(arg.worker, 1000)
  end
  forget(arg.worker)
  return count
end

-- Look at the queue. Returns which data these are, and what the workers tell of themselves.
function steps.look()
  reap()
  local workers = {}
  for i, worker in ipairs(call('ZRANGE', WORKERS, 0, -1)) do
    workers[i] = call('HGET', base .. 'worker:' .. worker, 'told') or '{}'
  end
  return {incarnation(), workers}
end

-- Return jobs, each as its hash, and what to take from their due times to get those of the server's clock.
function steps.find()
  local jobs = {}
  for i, key in ipairs(arg.keys) do
    jobs[i] = call('HGETALL', job_of(key))
  end
  return {tostring(offset), jobs}
end

return steps[op]()
