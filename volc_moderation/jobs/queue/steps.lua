-- The second part of the script that queue.lua begins: its steps.

local steps = {}

-- Open jobs, or add a run to the listeners of open ones. Returns nothing if the data are not the expected ones, else
-- two numbers per submission: 0 if the job had to exist and does not, 1 if it is open, 2 if it had ended and the run
-- got an update; and in how many milliseconds the job is due if it is deferred, else -1.
function steps.submit()
  if arg.incarnation and arg.incarnation ~= incarnation() then
    return {}
  end
  local results, lanes_with_work = {}, {}
  for _, submission in ipairs(arg.submissions) do
    local key, token = submission.key, submission.token
    local job = job_key(key)
    local fields = call('HMGET', job, 'state', 'runs', 'past', 'attempts', 'due', 'callers')
    local state, runs, past, callers = fields[1], fields[2] or '', fields[3] or '', fields[6] or ''
    local is_caller = string.sub(token, 1, 1) == '-'  -- gets no updates
    local is_listed = string.find(' ' .. runs .. ' ' .. callers .. ' ', ' ' .. token .. ' ', 1, true)
    local has_ended = state and state ~= 'pending' and state ~= 'taken' and state ~= 'sent'
    local result, due_in = 1, -1
    local was_listed = is_listed or string.find(' ' .. past .. ' ', ' ' .. token .. ' ', 1, true)
    if submission.must_exist and (not state or (has_ended and not was_listed)) then
      result = 0  -- a job that has ended without this token was lost, and opened again by another submitter
    elseif has_ended and was_listed then
      result = 2
      update_runs(job, token, arg.keep)
    elseif not state or has_ended then
      past = has_ended and string.sub(past .. ' ' .. runs, -MAX_TOKENS_LENGTH) or ''
      if has_ended then
        call('DEL', job)
      end
      call('HSET', job, 'state', 'pending', 'lane', submission.lane, 'parameters', submission.parameters,
        'attempts', 0, 'due', now + submission.delay, 'created', math.max(wall, distrusted_until + 1) / 1000,
        'runs', is_caller and '' or token)
      if past ~= '' then
        call('HSET', job, 'past', past)
      end
      if is_caller then
        call('HSET', job, 'callers', token)
      end
      if submission.maybe_sent then call('HSET', job, 'maybe_sent', 1) end
      if submission.line >= 0 then call('HSET', job, 'line', submission.line) end
      if submission.traceparent ~= '' then call('HSET', job, 'traceparent', submission.traceparent) end
      call('ZADD', due_key(submission.lane), now + submission.delay, key)
      lanes_with_work[submission.lane] = (lanes_with_work[submission.lane] or 0) + 1
    else
      if not is_listed then
        if is_caller then
          call('HSET', job, 'callers', string.sub(callers .. ' ' .. token, -MAX_TOKENS_LENGTH))
        else
          call('HSET', job, 'runs', runs .. ' ' .. token)
        end
        if state == 'pending' then
          call('HSET', job, 'parameters', submission.parameters)
        end
      end
      if state == 'pending' and number(fields[4]) > 0 then
        due_in = math.max(0, number(fields[5]) - now)
      end
    end
    results[#results + 1] = result
    results[#results + 1] = due_in
  end
  for lane, new_jobs in pairs(lanes_with_work) do
    call('SADD', LANES, lane)
    notify_workers(lane, new_jobs)
  end
  return results
end

-- Claim due jobs of a lane. Returns them, and in how many milliseconds the next job is due; -1 if there is none, or if
-- the limit was reached.
function steps.take()
  renew_lease(arg.worker)
  local taken = taken_key(arg.worker)
  local jobs = {}
  local state = arg.at_most_once and 'taken' or 'sent'
  for _, key in ipairs(call('ZRANGEBYSCORE', due_key(arg.lane), '-inf', now, 'LIMIT', 0, arg.limit)) do
    local job = job_key(key)
    local fields = call('HMGET', job, 'parameters', 'attempts', 'maybe_sent', 'code', 'line', 'created', 'runs',
      'traceparent')
    call('ZREM', due_key(arg.lane), key)
    if fields[1] and arg.at_most_once and number(fields[6]) * 1000 <= distrusted_until then
      interrupt(key, job, fields[7])
    elseif fields[1] then
      local fence, attempts = next_fence(), number(fields[2]) + 1
      call('HSET', job, 'state', state, 'fence', fence, 'worker', arg.worker, 'attempts', attempts, 'once',
        arg.at_most_once and 1 or 0, 'sent', wall / 1000)
      call('SADD', taken, key)
      jobs[#jobs + 1] = {fence, key, fields[1], attempts, fields[3] or '0', fields[4] or 'null', fields[5] or '',
        fields[8] or ''}
    end
  end
  local first = call('ZRANGE', due_key(arg.lane), 0, 0, 'WITHSCORES')
  local due_in = first[2] and math.max(0, first[2] - now) or -1
  if #jobs < arg.limit then
    call('SADD', idle_key(arg.lane), arg.worker)
    call('EXPIRE', idle_key(arg.lane), IDLE_TTL)
    return {jobs, due_in}
  end
  call('SREM', idle_key(arg.lane), arg.worker)
  if due_in == 0 then
    wake_idle_workers(arg.lane, 1)
  end
  return {jobs, -1}
end

-- Return whether a claim is the job's current one, and the job's fields.
local function check_claim(claim)
  local fields = call('HMGET', job_key(claim.key), 'fence', 'state', 'lane', 'attempts', 'runs', 'worker')
  local is_valid = tonumber(fields[1]) == claim.fence and fields[6] == arg.worker
  if is_valid or fields[6] ~= arg.worker then  -- otherwise the worker has claimed the job again
    call('SREM', taken_key(arg.worker), claim.key)
  end
  return is_valid, fields
end

-- Mark jobs as sent right before their requests leave. Returns for each whether its request may leave.
function steps.mark_sent()
  renew_lease(arg.worker)
  local results = {}
  for i, claim in ipairs(arg.claims) do
    local is_valid = check_claim(claim)
    if is_valid then
      call('HSET', job_key(claim.key), 'state', 'sent', 'sent', wall / 1000)
      call('SADD', taken_key(arg.worker), claim.key)
      next_fence()
    end
    results[i] = is_valid and 1 or 0
  end
  return {results, last_fence}
end

-- Record attempts that have ended. Returns for each whether the worker still had the job.
function steps.record()
  renew_lease(arg.worker)
  local results, ended_keys = {}, {}
  for i, attempt in ipairs(arg.attempts) do
    local is_valid, fields = check_claim(attempt)
    results[i] = is_valid and 1 or 0
    if is_valid then
      next_fence()
      local job, lane = job_key(attempt.key), fields[3]
      local due = now + attempt.delay
      call('HSET', job, 'state', attempt.state, 'attempts', attempt.attempts, 'due', due, 'maybe_sent',
        attempt.maybe_sent, 'code', attempt.code, 'outcome', attempt.outcome)
      call('HDEL', job, 'fence', 'worker')
      if attempt.state == 'pending' then
        call('ZADD', due_key(lane), due, attempt.key)
        if attempt.delay == 0 then
          notify_workers(lane, 1)
        end
      else
        call('HSET', job, 'ended', wall / 1000)
        if attempt.parameters ~= '' then
          call('HSET', job, 'parameters', attempt.parameters)
        end
        call('EXPIRE', job, arg.keep)
        ended_keys[#ended_keys + 1] = attempt.key
      end
      update_runs(job, fields[5], arg.keep)
    end
  end
  if #ended_keys > 0 then
    publish('ended', table.concat(ended_keys, ' '))
  end
  return {results, last_fence}
end

-- Give back jobs whose requests have not left. Returns how many the worker still had.
function steps.give_back()
  renew_lease(arg.worker)
  local count = 0
  for _, claim in ipairs(arg.claims) do
    local is_valid, fields = check_claim(claim)
    if is_valid then
      call('SREM', idle_key(fields[3]), arg.worker)  -- it cannot make these calls at present
      return_to_pending(claim.key, job_key(claim.key), fields[3], number(fields[4]) - 1)
      count = count + 1
    end
  end
  return count
end

-- Renew a worker's lease, save its status if it is not empty, and recover the jobs of dead workers. Returns the last fence, all lanes with
-- their number of due jobs, and an identity of the data that changes when they are lost or replaced by older ones.
--
-- Claims up to ``up_to_fence`` that the worker does not hold never reached it: the reply was lost. They are given back.
function steps.heartbeat()
  renew_lease(arg.worker)
  if arg.status ~= '' then
    call('HSET', worker_key(arg.worker), 'told', arg.status)
  end
  local held = {}
  for _, fence in ipairs(arg.held) do
    held[fence] = true
  end
  for _, key in ipairs(arg.up_to_fence > 0 and call('SMEMBERS', taken_key(arg.worker)) or {}) do
    local job = job_key(key)
    local fields = call('HMGET', job, 'fence', 'worker', 'lane', 'attempts', 'state', 'once', 'runs', 'created')
    local fence = tonumber(fields[1])
    if fields[2] ~= arg.worker then
      call('SREM', taken_key(arg.worker), key)
    elseif fence and fence <= arg.up_to_fence and not held[fence] then
      call('SREM', taken_key(arg.worker), key)
      if fields[6] == '1' and (fields[5] == 'sent' or number(fields[8]) * 1000 <= distrusted_until) then
        interrupt(key, job, fields[7])  -- the worker did have it: the Redis has lost what the worker recorded
      else
        return_to_pending(key, job, fields[3], number(fields[4]) - 1)
      end
    end
  end
  reap_workers()
  local lanes = {}
  for _, lane in ipairs(call('SMEMBERS', LANES)) do
    lanes[#lanes + 1] = {lane, call('ZCOUNT', due_key(lane), '-inf', now)}
  end
  return {last_fence, lanes, data_id .. ':' .. distrusted_until}
end

-- Remove a worker, and give back its jobs. Returns their number.
function steps.leave()
  local count = 0
  while call('SCARD', taken_key(arg.worker)) > 0 do
    count = count + recover_jobs(arg.worker, MAX_RECOVERED_JOBS)
  end
  remove_worker(arg.worker)
  return count
end

-- Recover the jobs of dead workers. Returns the identity of the data, and the status of each worker.
function steps.inspect()
  reap_workers()
  local statuses = {}
  for i, worker in ipairs(call('ZRANGE', WORKERS, 0, -1)) do
    statuses[i] = call('HGET', worker_key(worker), 'told') or '{}'
  end
  return {incarnation(), statuses}
end

-- Return the hash of each job, and the offset by which their due times are ahead of the server's clock.
function steps.find()
  local jobs = {}
  for i, key in ipairs(arg.keys) do
    jobs[i] = call('HGETALL', job_key(key))
  end
  return {tostring(offset), jobs}
end

return steps[step]()
