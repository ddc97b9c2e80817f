-- One exchange of a process with the store: it returns permits and requests new ones. The rules by which permits are
-- granted are also those of ``grant_permits.py``; a test compares the replies of both.
--
-- The store keeps, per quota:
--   state  a hash: the generation of the data (`born`), when the next permit may go out, how much of the quota is used
--   held   permits in flight, sorted by when they return if their process stays silent
--   back   permits whose requests were answered, sorted by when the vendor no longer counts them
--   line   processes that got fewer permits than they wanted, sorted by when they first asked
--   seen   processes in which calls wait, sorted by when they last said so
--   weights  a hash: how many calls wait in these processes
-- All times are in microseconds on one clock, which is kept here and never steps: see below.
-- A permit that has not returned yet is granted ahead of time, with the moment from which it may be used. So processes
-- use permits in the order of their requests, and need not ask again.

local state, held, back, line, seen, weights = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local request = cjson.decode(ARGV[1])
local time = redis.call('TIME')
local wall = time[1] * 1000000 + time[2]

local stored = redis.call('HMGET', state, 'born', 'node', 'resume', 'pace', 'effective', 'as_of', 'shrunk', 'clock', 'wall')
local born, node = tonumber(stored[1]), stored[2]

-- Our clock advances by as much as the server's clock did, but never backwards, and no further than the process can
-- confirm by its own clock, since its first reply from this store. So no step of the server's clock, back or ahead, by
-- NTP or a failover, makes a second longer or shorter. Time that an exchange leaves uncounted is counted by the next one.
-- A process that is new here can confirm nothing: the clock stands still in its first exchange, and the time before is
-- lost for good. If the clock caught up later, the permits that are recorded now would end early. The same holds for a
-- process that knows the clock of data that have been lost.
local clock, counted = tonumber(stored[8]) or wall, tonumber(stored[9]) or wall
if wall < counted then
  counted = wall
end
local now = clock
if request.now and request.clock_of == born then
  now = math.max(clock, math.min(clock + wall - counted, request.now))
  counted = counted + now - clock
else
  counted = wall
end

local resume = math.min(tonumber(stored[3]) or 0, now + request.forget)
local pace = math.min(tonumber(stored[4]) or 0, now + 2 * request.window)
local effective = math.max(1, tonumber(stored[5]) or request.limit)
local as_of, shrunk = math.min(tonumber(stored[6]) or now, now), math.min(tonumber(stored[7]) or 0, now)

-- If permits were lost, by a restart, a failover or a flush, none is granted until the vendor no longer counts them.
local info = redis.pcall('INFO', 'server')
local this_node, uptime = false, nil
if type(info) == 'string' then
  this_node = string.match(info, 'run_id:(%w+)') or false
  uptime = tonumber(string.match(info, 'uptime_in_seconds:(%d+)'))
end
local lost = request.away or (request.born and request.born ~= born)
if not born then
  born = wall
  lost = lost or not uptime or uptime * 1000000 < request.forget
elseif this_node and node ~= this_node then
  lost = true
end
if lost then
  resume = math.max(resume, now + request.forget)
end

-- Permits that return, and permits that are still in flight.
for i = 1, #request.returns, 3 do
  local after, credit = request.returns[i + 1], request.returns[i + 2]
  local id = request.process .. ':' .. request.returns[i]
  redis.call('ZREM', held, id)
  if after > 0 then
    redis.call('ZADD', back, now + math.min(after, request.window + request.forget), id .. ' ' .. credit)
  end
end
for _, number in ipairs(request.renew) do
  redis.call('ZADD', held, now + request.lease, request.process .. ':' .. number)
end
redis.call('ZREMRANGEBYSCORE', held, '-inf', now)
redis.call('ZREMRANGEBYSCORE', back, '-inf', now)
local in_flight, answered = redis.call('ZCARD', held), redis.call('ZCARD', back)

-- The part of the quota that is used, by the rules of adaptive.py.
if request.published then
  effective = math.min(request.limit, effective + request.growth * request.limit * (now - as_of) / request.window)
end
as_of = now
if request.throttled and now >= shrunk + request.window then
  effective = math.max(1, request.shrink * effective)
  shrunk = now
end
local quota = math.floor(effective)

-- How many calls wait in this process, and in the others.
if request.weight > 0 then
  redis.call('ZADD', seen, now, request.process)
  redis.call('HSET', weights, request.process, request.weight)
else
  redis.call('ZREM', seen, request.process)
  redis.call('HDEL', weights, request.process)
end
for _, process in ipairs(redis.call('ZRANGEBYSCORE', seen, '-inf', now - request.silence)) do
  redis.call('ZREM', seen, process)
  redis.call('HDEL', weights, process)
end
local others = -request.weight
for _, weight in ipairs(redis.call('HVALS', weights)) do
  others = others + tonumber(weight)
end

-- A process that got fewer permits than it wanted stays in line as long as it keeps asking. One permit is left to each
-- process that is ahead of this one.
local ahead = 0
if request.want > 0 then
  for _, process in ipairs(redis.call('ZRANGE', line, 0, -1)) do
    if process == request.process then
      break
    elseif redis.call('ZSCORE', seen, process) then
      ahead = ahead + 1
    else
      redis.call('ZREM', line, process)
    end
  end
end

-- Grant the free permits, then those that return next.
local pace_step = request.pace_cost * request.window / quota
local delays, prefetched, is_short = {}, 0, false
while #delays < request.want do
  -- The permits before this one return earlier, but exceed the quota or are left to other processes.
  local used = in_flight + answered
  local index = used - quota + ahead
  if now < resume or index >= answered then
    is_short = true
    break
  end
  local start, next_return = now, nil
  if index >= 0 then
    next_return = redis.call('ZRANGE', back, index, index, 'WITHSCORES')
    local credit = math.min(request.credit, tonumber(string.match(next_return[1], '%d+$')))
    start = math.max(now, tonumber(next_return[2]) - credit)
  end
  local is_paced = quota > request.burst and used >= request.paced_from * quota
  if is_paced then
    start = math.ceil(math.max(start, pace - (request.burst - 1) * pace_step))
  end
  if start > now then
    if prefetched == request.prefetch then
      break
    end
    prefetched = prefetched + 1
  end
  if is_paced then
    pace = math.max(pace, start) + pace_step
  end
  if next_return then
    redis.call('ZREM', back, next_return[1])
    answered = answered - 1
    if not request.published then
      effective = effective + request.learning * request.limit / effective
    end
  end
  redis.call('ZADD', held, start + request.lease, request.process .. ':' .. (request.number + #delays))
  in_flight = in_flight + 1
  delays[#delays + 1] = start - now
end
if #delays > 0 or request.want == 0 then
  redis.call('ZREM', line, request.process)
end
if is_short then
  redis.call('ZADD', line, 'NX', now, request.process)
end

-- When to ask again: a permit in flight cannot return earlier than a window after it was granted.
local wait = 0
if now < resume then
  wait = resume - now
elseif is_short then
  local first = redis.call('ZRANGE', held, 0, 0, 'WITHSCORES')
  wait = first[2] and first[2] - request.lease + request.window - request.credit - now or 0
end

redis.call('HSET', state, 'born', born, 'resume', resume, 'pace', pace, 'effective', effective, 'as_of', as_of,
  'shrunk', shrunk, 'clock', now, 'wall', counted)
if this_node then
  redis.call('HSET', state, 'node', this_node)
end
redis.call('PEXPIRE', state, request.remember)
for i = 2, 6 do
  redis.call('PEXPIRE', KEYS[i], request.keep)
end
return {born, now, quota, in_flight + answered, math.ceil(math.max(0, wait)), others, delays}
