-- One exchange of a process with the store: it brings permits back and takes new ones.
--
-- The store keeps, per quota:
--   state  a hash: which life of the store this is, when the next permit may go out, what is used of the quota
--   held   permits in flight, by when they return if nothing more is heard of their process
--   back   permits whose requests were answered, by when the vendor must have forgotten them
--   line   processes that got fewer than they wanted, by when they asked
--   seen   when those were last heard of
-- All times are those of one clock that is kept here, in microseconds, and that never steps: see below.
-- A permit that is not back yet is given out ahead, with the moment from which it may be used: whoever asked first uses
-- it first, and nobody has to ask again.

local state, held, back, line, seen = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local ask = cjson.decode(ARGV[1])
local time = redis.call('TIME')
local wall = time[1] * 1000000 + time[2]

local known = redis.call('HMGET', state, 'born', 'node', 'resume', 'pace', 'effective', 'as_of', 'shrunk', 'clock', 'wall')
local born, node = tonumber(known[1]), known[2]

-- The clock goes on by what the server's clock went on, if that is not less than nothing, and no further than the process
-- can vouch for, by its own clock since it first heard this one. So neither a step back nor one ahead, by NTP or a
-- failover, makes a second longer or shorter. What an exchange leaves uncounted, the next one counts.
-- A process that is new here can vouch for nothing: with it the clock stands still, and what went by before it asked is
-- lost for good. If the clock caught up later, the permits that are written down now would end early.
local clock, counted = tonumber(known[8]) or wall, tonumber(known[9]) or wall
if wall < counted then
  counted = wall
end
local now = clock
if ask.now then
  now = math.max(clock, math.min(clock + wall - counted, ask.now))
  counted = counted + now - clock
else
  counted = wall
end

local resume = math.min(tonumber(known[3]) or 0, now + ask.forget)
local pace = math.min(tonumber(known[4]) or 0, now + 2 * ask.window)
local effective = math.max(1, tonumber(known[5]) or ask.limit)
local as_of, shrunk = math.min(tonumber(known[6]) or now, now), math.min(tonumber(known[7]) or 0, now)

-- Were permits lost, by a restart, a failover, a flush? Then nothing is given until the vendor has forgotten them.
local info = redis.pcall('INFO', 'server')
local this_node, uptime = false, nil
if type(info) == 'string' then
  this_node = string.match(info, 'run_id:(%w+)') or false
  uptime = tonumber(string.match(info, 'uptime_in_seconds:(%d+)'))
end
local lost = ask.away or (ask.born and ask.born ~= born)
if not born then
  born = wall
  lost = lost or not uptime or uptime * 1000000 < ask.forget
elseif this_node and node ~= this_node then
  lost = true
end
if lost then
  resume = math.max(resume, now + ask.forget)
end

-- What comes back, and what is still in flight.
for i = 1, #ask.returns, 3 do
  local id, after, credit = ask.returns[i], ask.returns[i + 1], ask.returns[i + 2]
  redis.call('ZREM', held, id)
  if after > 0 then
    redis.call('ZADD', back, now + math.min(after, ask.window + ask.forget), id .. ' ' .. credit)
  end
end
for _, id in ipairs(ask.renew) do
  redis.call('ZADD', held, now + ask.lease, id)
end
redis.call('ZREMRANGEBYSCORE', held, '-inf', now)
redis.call('ZREMRANGEBYSCORE', back, '-inf', now)
local in_flight, answered = redis.call('ZCARD', held), redis.call('ZCARD', back)

-- How much of the quota is used; the rules are those of adaptive.py.
if ask.published then
  effective = math.min(ask.limit, effective + ask.growth * ask.limit * (now - as_of) / ask.window)
end
as_of = now
if ask.throttled and now >= shrunk + ask.window then
  effective = math.max(1, ask.shrink * effective)
  shrunk = now
end
local quota = math.floor(effective)

-- Who got fewer than it wanted stands in line for as long as it keeps asking; each before this one is left a permit.
local ahead = 0
if ask.want > 0 then
  redis.call('ZADD', seen, now, ask.process)
  redis.call('ZREMRANGEBYSCORE', seen, '-inf', now - ask.silence)
  for _, process in ipairs(redis.call('ZRANGE', line, 0, -1)) do
    if process == ask.process then
      break
    elseif redis.call('ZSCORE', seen, process) then
      ahead = ahead + 1
    else
      redis.call('ZREM', line, process)
    end
  end
end

-- Give out what is free, then what returns next.
local step = ask.drip * ask.window / quota
local given, short = {}, false
local function give(from)
  local start = math.max(now, from)
  if quota > ask.burst then
    start = math.ceil(math.max(start, pace - (ask.burst - 1) * step))
    pace = math.max(pace, start) + step
  end
  redis.call('ZADD', held, start + ask.lease, ask.process .. ':' .. (ask.number + #given))
  in_flight = in_flight + 1
  given[#given + 1] = start - now
end
while #given < ask.want and now >= resume do
  local over = in_flight + answered - quota
  if over + ahead < 0 then
    give(now)
  else
    -- Those before it return earlier, but are more than the quota, or are left to others.
    local found = redis.call('ZRANGE', back, over + ahead, over + ahead, 'WITHSCORES')
    if #found == 0 then
      short = true
      break
    end
    redis.call('ZREM', back, found[1])
    answered = answered - 1
    if not ask.published then
      effective = effective + ask.learning * ask.limit / effective
    end
    give(tonumber(found[2]) - math.min(ask.credit, tonumber(string.match(found[1], '%d+$'))))
  end
end
if #given > 0 or ask.want == 0 then
  redis.call('ZREM', line, ask.process)
end
if #given < ask.want then
  redis.call('ZADD', line, 'NX', now, ask.process)
end

-- When to ask again: a permit in flight cannot be back before a window has gone by since it was given.
local wait = 0
if now < resume then
  wait = resume - now
elseif short then
  local first = redis.call('ZRANGE', held, 0, 0, 'WITHSCORES')
  wait = first[2] and first[2] - ask.lease + ask.window - ask.credit - now or 0
end

redis.call('HSET', state, 'born', born, 'resume', resume, 'pace', pace, 'effective', effective, 'as_of', as_of,
  'shrunk', shrunk, 'clock', now, 'wall', counted)
if this_node then
  redis.call('HSET', state, 'node', this_node)
end
redis.call('PEXPIRE', state, ask.remember)
for i = 2, 5 do
  redis.call('PEXPIRE', KEYS[i], ask.keep)
end
return {born, now, quota, in_flight + answered, math.ceil(math.max(0, wait)), given}
