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
-- Characters of the tokens that a job remembers of earlier runs, and of callers.
local PAST = 4000

-- Clocks, in milliseconds. By ``now`` jobs become due: it is the server's clock, but does not step back. By ``beat``
-- leases end: it does not step ahead either, and stands still while nobody calls.
local time = call('TIME')
local wall = time[1] * 1000 + math.floor(time[2] / 1000)
local kept = call('HMGET', QUEUE, 'wall', 'offset', 'beat', 'life', 'fence', 'distrust')
local last, offset, beat = tonumber(kept[1]) or wall, tonumber(kept[2]) or 0, tonumber(kept[3]) or 0
local life = kept[4]
local fence, distrust = tonumber(kept[5]) or wall * 1000, tonumber(kept[6]) or 0
if not life then
  life = arg.fresh
  call('HSET', QUEUE, 'life', life, 'fence', fence)
end
-- Fences are never given again, also after a part of the data was lost: they are no less than the time. What the worker
-- has seen is more than what is known here if the Redis came back with older data. Then nobody knows what became of the
-- jobs that were open before.
if (arg.seen or 0) > fence then
  fence, distrust = arg.seen, wall
  call('HSET', QUEUE, 'fence', fence, 'distrust', distrust)
end
local function next_fence()
  fence = math.max(fence + 1, wall * 1000)
  call('HSET', QUEUE, 'fence', fence)
  return fence
end
if wall < last then
  offset = offset + last - wall
end
beat = beat + math.min(math.max(wall - last, 0), LEAP)
if wall < last or wall - last >= TICK or not kept[1] then
  call('HSET', QUEUE, 'wall', wall, 'offset', offset, 'beat', beat)
end
local now = wall + offset

-- What stands in a job and is no number, because somebody else wrote it, must not end a step in the middle.
local function number(text) return tonumber(text) or 0 end

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
  local known = call('HMGET', job, 'state', 'attempts', 'due', 'outcome', 'ended')
  for token in string.gmatch(tokens, '%S+') do
    local run, row, listed = string.match(token, '^(%w+):(%d+):(.*)$')
    if run then
      local due = string.format('%.3f', ((tonumber(known[3]) or now) - offset) / 1000)
      call('XADD', base .. 'run:' .. run, '*', 'row', row, 'listed', listed, 'state', known[1], 'attempts', known[2], 'due', due,
        'outcome', known[4] or '{}', 'now', known[5] or wall / 1000)
      call('EXPIRE', base .. 'run:' .. run, keep)
    end
  end
end

-- A right to publish may be lacking; who waits looks now and then anyway.
local function publish(channel, text) redis.pcall('PUBLISH', base .. channel, text) end

-- Put a job back among those that are pending; ``attempts`` counts those that left.
local function give_back(key, job, lane, attempts)
  call('HSET', job, 'state', 'pending', 'attempts', attempts, 'due', now)
  call('HDEL', job, 'fence', 'worker')
  call('ZADD', due_of(lane), now, key)
  publish('work', lane)
end

-- End a job of which nobody knows whether it was made, and that must not be made twice.
local function interrupt(key, job, runs)
  call('HSET', job, 'state', 'failed', 'outcome', arg.interrupted, 'ended', wall / 1000)
  call('HDEL', job, 'fence', 'worker')
  call('EXPIRE', job, arg.keep)
  tell(job, runs, arg.keep)
  publish('ended', key)
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
        give_back(key, job, known[3], number(known[4]) - 1)
      elseif known[5] == '1' then
        interrupt(key, job, known[6])
      else
        call('HSET', job, 'maybe_sent', 1)
        give_back(key, job, known[3], number(known[4]))
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
    local known = call('HMGET', job, 'state', 'runs', 'past', 'attempts', 'due', 'callers')
    local state, runs, past, callers = known[1], known[2] or '', known[3] or '', known[6] or ''
    local is_caller = string.sub(token, 1, 1) == '-'  -- to whom nothing is told
    local is_listed = string.find(' ' .. runs .. ' ' .. callers .. ' ', ' ' .. token .. ' ', 1, true)
    local has_ended = state and state ~= 'pending' and state ~= 'taken' and state ~= 'sent'
    local answer, due = 1, -1
    local was_listed = is_listed or string.find(' ' .. past .. ' ', ' ' .. token .. ' ', 1, true)
    if ticket.known and (not state or (has_ended and not was_listed)) then
      answer = 0  -- or it is known again, but only because of somebody else
    elseif has_ended and was_listed then
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
        now + ticket.delay, 'created', math.max(wall, distrust + 1) / 1000, 'runs', is_caller and '' or token)
      if past ~= '' then
        call('HSET', job, 'past', past)
      end
      if is_caller then
        call('HSET', job, 'callers', token)
      end
      if ticket.maybe then
        call('HSET', job, 'maybe_sent', 1)
      end
      if ticket.line >= 0 then
        call('HSET', job, 'line', ticket.line)
      end
      call('ZADD', due_of(ticket.lane), now + ticket.delay, key)
      woken[ticket.lane] = true
    else
      if not is_listed then
        if is_caller then
          call('HSET', job, 'callers', string.sub(callers .. ' ' .. token, -PAST))
        else
          call('HSET', job, 'runs', runs .. ' ' .. token)
        end
        if state == 'pending' then
          call('HSET', job, 'parameters', ticket.parameters)
        end
      end
      if state == 'pending' and number(known[4]) > 0 then
        due = math.max(0, number(known[5]) - now)
      end
    end
    found[#found + 1] = answer
    found[#found + 1] = due
  end
  for lane in pairs(woken) do
    call('SADD', LANES, lane)
    publish('work', lane)
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
    local known = call('HMGET', job, 'parameters', 'attempts', 'maybe_sent', 'code', 'line', 'created', 'runs')
    call('ZREM', due_of(arg.lane), key)
    if known[1] and arg.once and number(known[6]) * 1000 <= distrust then
      interrupt(key, job, known[7])
    elseif known[1] then
      next_fence()
      call('HSET', job, 'state', state, 'fence', fence, 'worker', arg.worker, 'attempts', number(known[2]) + 1, 'once',
        arg.once and 1 or 0, 'sent', wall / 1000)
      call('SADD', taken, key)
      rows[#rows + 1] = {fence, key, known[1], number(known[2]) + 1, known[3] or '0', known[4] or 'null', known[5] or ''}
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
  local known = call('HMGET', job_of(one.key), 'fence', 'state', 'lane', 'attempts', 'runs', 'worker')
  local is_own = tonumber(known[1]) == one.fence and known[6] == arg.worker
  if is_own or known[6] ~= arg.worker then  -- else it took the job anew
    call('SREM', taken_of(arg.worker), one.key)
  end
  return is_own, known
end

-- Note that a request is about to leave. Returns of each whether it may.
function steps.send()
  hear(arg.worker)
  local found = {}
  for i, one in ipairs(arg.jobs) do
    local is_own = holds(one)
    if is_own then
      call('HSET', job_of(one.key), 'state', 'sent', 'sent', wall / 1000)
      call('SADD', taken_of(arg.worker), one.key)
      next_fence()
    end
    found[i] = is_own and 1 or 0
  end
  return {found, fence}
end

-- Note what became of attempts. Returns of each whether the job was still the worker's.
function steps.record()
  hear(arg.worker)
  local found, ended = {}, {}
  for i, one in ipairs(arg.jobs) do
    local is_own, known = holds(one)
    found[i] = is_own and 1 or 0
    if is_own then
      next_fence()
      local job = job_of(one.key)
      local due = now + one.delay
      call('HSET', job, 'state', one.state, 'attempts', one.attempts, 'due', due, 'maybe_sent', one.maybe_sent, 'code',
        one.code, 'outcome', one.outcome)
      call('HDEL', job, 'fence', 'worker')
      if one.state == 'pending' then
        call('ZADD', due_of(known[3]), due, one.key)
        if one.delay == 0 then
          publish('work', known[3])
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
    publish('ended', table.concat(ended, ' '))
  end
  return {found, fence}
end

-- Give back jobs whose requests have not left.
function steps.give_back()
  hear(arg.worker)
  local count = 0
  for _, one in ipairs(arg.jobs) do
    local is_own, known = holds(one)
    if is_own then
      give_back(one.key, job_of(one.key), known[3], number(known[4]) - 1)
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
    local known = call('HMGET', job_of(key), 'fence', 'worker', 'lane', 'attempts', 'state', 'once', 'runs', 'created')
    local its = tonumber(known[1])
    if known[2] ~= arg.worker then
      call('SREM', taken_of(arg.worker), key)
    elseif its and its <= arg.since and not held[its] then
      call('SREM', taken_of(arg.worker), key)
      if known[6] == '1' and (known[5] == 'sent' or number(known[8]) * 1000 <= distrust) then
        interrupt(key, job_of(key), known[7])  -- the worker knew it once: the Redis has lost what it told
      else
        give_back(key, job_of(key), known[3], number(known[4]) - 1)
      end
    end
  end
  reap()
  local lanes = {}
  for _, lane in ipairs(call('SMEMBERS', LANES)) do
    lanes[#lanes + 1] = {lane, call('ZCOUNT', due_of(lane), '-inf', now)}
  end
  return {incarnation(), fence, lanes}
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
