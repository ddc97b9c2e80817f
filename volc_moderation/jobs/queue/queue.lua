-- The queue of distributed jobs. One call of this script is one step, and runs atomically. This is its first part: the
-- clocks, and what several steps do. The steps are in steps.lua.
--
-- KEYS[1] is the prefix of all keys. It contains a hash tag, so that a cluster keeps them in one slot. The keys are
--   queue         a hash: the identity of the data, the clocks below, the last fence
--   lanes         a set: the lanes that have had jobs
--   job:KEY       a hash: all that is known of a job; it expires some time after the job has ended
--   due:LANE      a sorted set: pending jobs by due time
--   idle:LANE     a set: workers that have found too few due jobs in the lane, and wait for a notification
--   workers       a sorted set: workers by the time of their last contact
--   worker:ID     a hash: a worker's status; taken:ID, a set: the jobs that it has claimed
--   run:NAME      a stream: updates for a run about the jobs that it listed
-- Channels: work:ID (for one worker: a lane that has a new due job), work (the same for all workers), ended (the keys of
-- jobs that have ended).
--
-- A job is pending, taken (a worker has claimed it; its request has not left), sent (its request may have left), or has
-- ended: done, failed, given up. A claim has a fence: a number that is never used again. Who records an outcome must
-- present it. So a worker that was frozen cannot change a job that another worker has claimed since.
--
-- Two versions of this script may use the same keys during an upgrade: names of keys and fields must not change, and
-- nor may what stands in 'told', 'outcome' and the entries of streams.

local prefix, step, arg = KEYS[1], ARGV[1], cjson.decode(ARGV[2])
local call = redis.call

local QUEUE, LANES, WORKERS = prefix .. 'queue', prefix .. 'lanes', prefix .. 'workers'
-- The lease clock advances by at most this much between two steps, in milliseconds.
local MAX_LEASE_CLOCK_STEP = 5000
-- Milliseconds after which a step saves the clocks again.
local CLOCK_SAVE_INTERVAL = 50
-- Characters of tokens that a job keeps: of earlier runs, and of callers.
local MAX_TOKENS_LENGTH = 4000
-- Workers that are notified of new jobs in one lane by one step. Each wakes another one if it leaves due jobs.
local MAX_WOKEN = 8
-- A worker is not notified if it has been silent for this long by the lease clock, in milliseconds: two heartbeats.
local MAX_IDLE_SILENCE = 6000
-- Seconds for which an idle worker is remembered.
local IDLE_TTL = 86400
-- Jobs that one step recovers, and dead workers whose jobs it recovers.
local MAX_RECOVERED_JOBS = 1000
local MAX_RECOVERED_WORKERS = 100

-- The clocks, in milliseconds. Due times follow ``now``: the server's clock, except that it never steps back. Leases
-- follow ``lease_clock``: it does not jump ahead either, and stands still while there are no steps.
local time = call('TIME')
local wall = time[1] * 1000 + math.floor(time[2] / 1000)
local saved = call('HMGET', QUEUE, 'wall', 'offset', 'beat', 'life', 'fence', 'distrust')
local last_wall, offset, lease_clock = tonumber(saved[1]) or wall, tonumber(saved[2]) or 0, tonumber(saved[3]) or 0
local data_id = saved[4]
local last_fence, distrusted_until = tonumber(saved[5]) or wall * 1000, tonumber(saved[6]) or 0
if not data_id then
  data_id = arg.fresh
  call('HSET', QUEUE, 'life', data_id, 'fence', last_fence)
end
-- Fences grow even across a loss of data, because they are at least the time in microseconds. If a worker has seen a
-- larger fence than the queue knows, the Redis has restored older data: the fate of the jobs created before is unknown.
if (arg.known_fence or 0) > last_fence then
  last_fence, distrusted_until = arg.known_fence, wall
  call('HSET', QUEUE, 'fence', last_fence, 'distrust', distrusted_until)
end
local function next_fence()
  last_fence = math.max(last_fence + 1, wall * 1000)
  call('HSET', QUEUE, 'fence', last_fence)
  return last_fence
end
if wall < last_wall then
  offset = offset + last_wall - wall
end
lease_clock = lease_clock + math.min(math.max(wall - last_wall, 0), MAX_LEASE_CLOCK_STEP)
if wall < last_wall or wall - last_wall >= CLOCK_SAVE_INTERVAL or not saved[1] then
  call('HSET', QUEUE, 'wall', wall, 'offset', offset, 'beat', lease_clock)
end
local now = wall + offset

-- Return a field as a number. Another program may have corrupted it; that must not abort a step halfway.
local function number(text) return tonumber(text) or 0 end

local function job_key(key) return prefix .. 'job:' .. key end
local function due_key(lane) return prefix .. 'due:' .. lane end
local function taken_key(worker) return prefix .. 'taken:' .. worker end
local function idle_key(lane) return prefix .. 'idle:' .. lane end
local function worker_key(worker) return prefix .. 'worker:' .. worker end

-- Return the identity of the data. It changes when the data are lost, and at each restart or failover, which may lose
-- the latest changes.
local function incarnation()
  local info = redis.pcall('INFO', 'server')
  return data_id .. ':' .. (type(info) == 'string' and string.match(info, 'run_id:(%w+)') or '')
end

-- Send an update of a job to the runs that listed it.
local function update_runs(job, tokens, keep)
  local fields = call('HMGET', job, 'state', 'attempts', 'due', 'outcome', 'ended')
  for token in string.gmatch(tokens, '%S+') do
    local run, row, listed = string.match(token, '^(%w+):(%d+):(.*)$')
    if run then
      local stream = prefix .. 'run:' .. run
      local due = string.format('%.3f', ((tonumber(fields[3]) or now) - offset) / 1000)
      call('XADD', stream, '*', 'row', row, 'listed', listed, 'state', fields[1], 'attempts', fields[2], 'due', due,
        'outcome', fields[4] or '{}', 'now', fields[5] or wall / 1000)
      call('EXPIRE', stream, keep)
    end
  end
end

-- Publish a notification. The user may lack the right to publish; subscribers also poll.
local function publish(channel, text) redis.pcall('PUBLISH', prefix .. channel, text) end

-- Notify up to ``limit`` idle workers that a lane has due jobs; return how many.
local function wake_idle_workers(lane, limit)
  local count, is_own_idle = 0, false
  while count < math.min(limit, MAX_WOKEN) do
    local worker = call('SPOP', idle_key(lane))
    if not worker then
      break
    elseif worker == arg.worker then
      is_own_idle = true  -- it knows
    else
      local contact = tonumber(call('ZSCORE', WORKERS, worker) or nil)
      if contact and contact > lease_clock - MAX_IDLE_SILENCE then
        publish('work:' .. worker, lane)
        count = count + 1
      end
    end
  end
  if is_own_idle then
    call('SADD', idle_key(lane), arg.worker)
  end
  return count
end

-- Notify workers of new jobs in a lane: one for each job. If none is idle, those that work in the lane find the jobs when
-- their calls end; but there may be workers that do not know the lane yet, so all are notified if it had no due jobs.
local function notify_workers(lane, new_jobs)
  if wake_idle_workers(lane, new_jobs) == 0 and call('ZCOUNT', due_key(lane), '-inf', now) <= new_jobs then
    publish('work', lane)
  end
end

-- Return a job to the pending ones; ``attempts`` counts the requests that left.
local function return_to_pending(key, job, lane, attempts)
  call('HSET', job, 'state', 'pending', 'attempts', attempts, 'due', now)
  call('HDEL', job, 'fence', 'worker')
  call('ZADD', due_key(lane), now, key)
  notify_workers(lane, 1)
end

-- End a job that may have been sent and must not be repeated.
local function interrupt(key, job, runs)
  call('HSET', job, 'state', 'failed', 'outcome', arg.interrupted, 'ended', wall / 1000)
  call('HDEL', job, 'fence', 'worker')
  call('EXPIRE', job, arg.keep)
  update_runs(job, runs, arg.keep)
  publish('ended', key)
end

-- Recover up to ``limit`` jobs of a worker that is gone; return their number. A job that may have been sent becomes
-- pending again, or fails if it must not be repeated.
local function recover_jobs(worker, limit)
  local count = 0
  for _, key in ipairs(call('SPOP', taken_key(worker), limit)) do
    local job = job_key(key)
    local fields = call('HMGET', job, 'worker', 'state', 'lane', 'attempts', 'once', 'runs')
    if fields[1] == worker then
      count = count + 1
      if fields[2] == 'taken' then
        return_to_pending(key, job, fields[3], number(fields[4]) - 1)
      elseif fields[5] == '1' then
        interrupt(key, job, fields[6])
      else
        call('HSET', job, 'maybe_sent', 1)
        return_to_pending(key, job, fields[3], number(fields[4]))
      end
    end
  end
  return count
end

local function remove_worker(worker)
  call('ZREM', WORKERS, worker)
  call('DEL', worker_key(worker), taken_key(worker))
end

-- Recover the jobs of workers whose lease has expired.
local function reap_workers()
  local limit = MAX_RECOVERED_JOBS
  local expired = call('ZRANGEBYSCORE', WORKERS, '-inf', lease_clock - arg.lease, 'LIMIT', 0, MAX_RECOVERED_WORKERS)
  for _, worker in ipairs(expired) do
    limit = limit - recover_jobs(worker, limit)
    if call('SCARD', taken_key(worker)) > 0 then
      return  -- a later step recovers the rest
    end
    remove_worker(worker)
  end
end

-- Renew a worker's lease.
local function renew_lease(worker)
  call('ZADD', WORKERS, lease_clock, worker)
end
